"""What must follow of each drift: refused by name, told and done without, or as exact as if nothing had happened.

``tried`` runs the commands on a database that has drifted and says in words what is wrong. No verdict allows exit 1,
a traceback, or figures that are neither those of the database that did not drift nor of its ``twin``.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from commands import Ran
from drift_figures import Figures, differences, digest, figures
from drift_world import Copies, command, do
from drifts import Drift, statement

Verdict = Literal["refused", "noted", "exact", "lawful", "guarded"]
"""refused: exit 5 by name. noted: a note by name, the twin's figures. exact: the same figures. lawful: one of these.
guarded: told by `check`, and a run refuses, because the ledger already holds what would be decided anew without it."""
INEXACT = {"double precision", "real", "money", "text"}
GUARDED = {"user_credits", "user_credits.free_credits_granted", "user_credits.free_credits_used"}
FORGET = "UPDATE users SET billing_mode = NULL WHERE id = 'gil'"
"""Whoever is new: of the others rollup.billing_modes knows how they pay."""
NAMELESS = "UPDATE hopsworks_clusters SET name = NULL"
TWINS = {
    "hopsworks_clusters": NAMELESS,
    "hopsworks_clusters.id": NAMELESS,
    "hopsworks_clusters.name": NAMELESS,
    "users": FORGET,
    "users.id": FORGET,
    "users.billing_mode": FORGET,
    "usage_daily.instance_hours": "UPDATE usage_daily SET instance_hours = NULL",
    "usage_daily.credits_deducted": "SELECT",
    "usage_daily.reported_to_stripe": "UPDATE usage_daily SET reported_to_stripe = false",
    "credit_transactions": "SELECT",
    "user_pricing_overrides": "DELETE FROM user_pricing_overrides",
}
"""What the job may do without, and what a database that did not drift would have to say to come to the same."""


def verdict(drift: Drift) -> Verdict:
    if drift.is_own:
        return "refused" if drift.how not in ("a view", "varchar(200)") else "lawful"
    if drift.subject in GUARDED and drift.is_gone:
        return "guarded"
    if drift.is_gone and drift.subject in TWINS.keys() - {"users.id", "user_pricing_overrides"}:
        return "noted"
    if drift.is_gone and drift.subject not in TWINS:
        return "refused"
    if drift.is_exact:
        return "exact"
    numbers = drift.kind in ("numeric", "integer") and drift.subject not in TWINS
    return "refused" if numbers and drift.how in INEXACT else "lawful"


@dataclass
class Worlds:
    """Worlds by shape, and the figures that the next run must come to, there and where a twin's statement is done."""

    copies: Copies
    make: Callable[[str], Callable[[str], None]]
    known: dict[tuple[str, str], Figures] = field(default_factory=dict)

    def copy(self, shape: str) -> str:
        return self.copies.of(shape, self.make(shape))

    def expected(self, shape: str, twin: str = "SELECT") -> Figures:
        if (shape, twin) not in self.known:
            url = self.copy(shape)
            do(url, twin)
            ran = command(shape, url, "run")
            assert ran.code == 3, ran.err
            self.known[shape, twin] = figures(url)
            self.copies.drop(url)
        return self.known[shape, twin]


def tried(worlds: Worlds, drift: Drift) -> list[str]:
    """Everything that is wrong with `check`, `run --dry-run`, `run` and `reconcile` after a drift."""
    url = worlds.copy(drift.shape)
    try:
        do(url, statement(drift))
        return list(judged(worlds, drift, url))
    finally:
        worlds.copies.drop(url)


def judged(worlds: Worlds, drift: Drift, url: str) -> list[str]:
    check = command(drift.shape, url, "check", "--json")
    if check.code not in (0, 5):
        return [f"check: {ended(check)}"]
    found = about(check.object["findings"], drift)
    if check.code == 5:
        wrong = [f"check: refuses, and names no {drift.subject}"] if not _levels(found) & {"refused", *LATER} else []
        wrong += ["check: refuses what is exact"] if verdict(drift) == "exact" else []
        wrong += ["check: refuses what can be done without"] if verdict(drift) == "noted" else []
        return wrong + refusals(drift, url, may_prove="refused" not in _levels(found))
    wrong = [f"check: exit 0, findings {[f['subject'] for f in found]}"] if verdict(drift) == "refused" else []
    if verdict(drift) in ("noted", "guarded") and "note" not in _levels(found):
        wrong.append(f"check: no note names {drift.subject}")
    return wrong + done(worlds, drift, url, noted="note" in _levels(found))


LATER = {"unwritable", "unprovable"}
"""What stands in the way of a run, and not of `reconcile`."""


def _levels(found: list[Mapping[str, Any]]) -> set[str]:
    return {finding["level"] for finding in found}


def about(findings: list[Mapping[str, Any]], drift: Drift) -> list[Mapping[str, Any]]:
    """Those findings that name it, or something of it; of our own tables one finding names all columns that lack."""
    named = tuple(f"{name}{end}" for name in drift.names for end in " .")
    lacks = f" {drift.column}," if drift.is_own and drift.is_gone else "?"
    return [
        finding
        for finding in findings
        if f"{finding['subject']} ".startswith(named)
        or (finding["subject"] == drift.table and lacks in f"{finding['found']},")
    ]


def ended(ran: Ran) -> str:
    """An exit code and the last that was said, for a person."""
    return f"exit {ran.code}: {(ran.err.strip() or ran.out.strip())[-200:]}"


def refusals(drift: Drift, url: str, *, may_prove: bool) -> list[str]:
    """Every command refuses by name, says what it found, and nothing is written."""
    before, wrong = digest(url), []
    for words in (("run", "--dry-run"), ("run",), ("reconcile",)):
        ran = command(drift.shape, url, *words)
        if not (ran.code == 5 and is_named(ran.err, drift)) and not (ran.code == 0 and words[0] != "run" and may_prove):
            wrong.append(f"{' '.join(words)}: not refused by name and found ({drift.found}): {ended(ran)}")
    changed = [name for name, text in digest(url).items() if before.get(name) != text]
    return [*wrong, *(f"run: refused, and has written {name}" for name in changed)]


def is_named(message: str, drift: Drift) -> bool:
    if drift.is_own and drift.is_gone and drift.column is not None:
        return re.search(rf"{drift.table}: [^.]* without [a-z_, ]*\b{drift.column}\b", message) is not None
    return any(name in message for name in drift.names) and (drift.found in message or drift.how == "a view")


def done(worlds: Worlds, drift: Drift, url: str, noted: bool) -> list[str]:
    """The commands go on, and figures are right; or, where the ledger guards itself, the run refuses."""
    before = digest(url)
    trial = command(drift.shape, url, "run", "--dry-run")
    ran = command(drift.shape, url, "run")
    if ran.code == 5 and verdict(drift) in ("guarded", "lawful"):
        changed = [name for name, text in digest(url).items() if before.get(name) != text]
        changed = [name for name in changed if name not in ("rollup.runs", "rollup.billing_modes")]
        wrong = [] if drift.subject in ran.err else [f"run: refuses, and names no {drift.subject}: {ended(ran)}"]
        return [*wrong, *(f"run: refused, and has written {name}" for name in changed)]
    if (trial.code, ran.code) != (3, 3):
        return [f"run --dry-run: {ended(trial)}", f"run: {ended(ran)}"]
    reconciled = command(drift.shape, url, "reconcile")
    wrong = [f"reconcile: {ended(reconciled)}"] if reconciled.code != 0 else []
    twins = ["SELECT", *([TWINS[drift.subject]] if noted and drift.subject in TWINS else [])]
    unlike = [differences(figures(url), worlds.expected(drift.shape, twin), but=_gone(drift)) for twin in twins]
    return [*wrong, *(f"run: exit 3 without a word, and {word}" for word in min(unlike, key=len)[:3])]


def _gone(drift: Drift) -> tuple[str, ...]:
    return (drift.subject,) if drift.is_gone else ()


def mended(worlds: Worlds, drift: Drift) -> list[str]:
    """Everything that is wrong after `schema --apply` on a drift of our own tables, and the run that follows.

    Apply may refuse by name what it cannot restore. If it does not, the run decides as if nothing had happened: what a
    closed month has lost is lost, but nobody pays or is drawn otherwise.
    """
    url = worlds.copy(drift.shape)
    try:
        do(url, statement(drift))
        applied = command(drift.shape, url, "schema", "--apply")
        if applied.code not in (0, 5):
            return [f"schema --apply: {ended(applied)}"]
        if applied.code == 5 and not all(name in applied.err for name in drift.subject.split(".")):
            return [f"schema --apply: refuses, and names no {drift.subject}: {ended(applied)}"]
        return _after(worlds, drift, url)
    finally:
        worlds.copies.drop(url)


def _after(worlds: Worlds, drift: Drift, url: str) -> list[str]:
    ran = command(drift.shape, url, "run")
    if ran.code == 5 and (is_named(ran.err, drift) or drift.table in ran.err):
        return []
    if ran.code != 3:
        return [f"run: {ended(ran)}"]
    unlike = differences(figures(url), worlds.expected(drift.shape))
    return [f"run: exit 3 without a word, and {word}" for word in unlike if not _lost(drift, word)][:3]


def _lost(drift: Drift, word: str) -> bool:
    """Whether a difference is what a closed month held of what was dropped."""
    closed = f"{drift.table}: no row 2026-05" if drift.column is None else f"{drift.table} 2026-05"
    return word.startswith(closed) and (drift.column is None or f" {drift.column}: " in word)
