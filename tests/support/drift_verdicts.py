"""What must follow of each drift: refused by name, told and done without, or as exact as if nothing had happened.

``tried`` runs the commands on a database that has drifted and says in words what is wrong; ``tried_together`` on one
where many things have, none of which changes what another means. No verdict allows exit 1, a traceback, or figures
that are neither those of the database that did not drift nor of its ``twin``.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

from commands import Ran
from drift_figures import Figures, differences, digest, figures
from drift_world import Copies, command, do
from drifts import Drift, statement

Verdict = Literal["refused", "noted", "exact", "lawful"]
"""refused: exit 5 by name. noted: a note by name, the twin's figures. exact: the same figures. lawful: one of these."""
INEXACT = {"double precision", "real", "money", "text"}
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
    """Everything that is wrong with `check`, `run` and `reconcile` after a drift that a run does without."""
    with drifted(worlds, [drift]) as url:
        found = [f for f in findings(drift.shape, url) if is_about(f, drift)]
        if _levels(found) & {"refused", *LATER}:
            return [f"check: refuses {drift.subject}, which can be done without"]
        if "note" not in _levels(found):
            return [f"check: no note names {drift.subject}"]
        ran, reconciled = (command(drift.shape, url, word) for word in ("run", "reconcile"))
        if (ran.code, reconciled.code) != (3, 0):
            return [f"run: {ended(ran)}", f"reconcile: {ended(reconciled)}"]
        twins = (worlds.expected(drift.shape, twin) for twin in ("SELECT", TWINS[drift.subject]))
        return min((differences(figures(url), twin, but=_gone(drift)) for twin in twins), key=len)


@contextmanager
def drifted(worlds: Worlds, group: Sequence[Drift]) -> Iterator[str]:
    """A world in which all of a group has happened."""
    url = worlds.copy(group[0].shape)
    try:
        do(url, "".join(map(statement, group)))
        yield url
    finally:
        worlds.copies.drop(url)


def findings(shape: str, url: str) -> list[Mapping[str, Any]]:
    """All that `check` says."""
    check = command(shape, url, "check", "--json")
    assert check.code in (0, 5), ended(check)
    return list(check.object["findings"])


def tried_together(worlds: Worlds, group: Sequence[Drift]) -> list[str]:
    """Everything that is wrong where all of a group has happened; each is to be refused by name, or to be exact.

    What `check` refuses, every command has to refuse by name, and nothing may be written. Of the rest alone, a run must
    come to the figures of a database that did not drift.
    """
    with drifted(worlds, group) as url:
        found = findings(group[0].shape, url)
        bad = [drift for drift in group if _levels(f for f in found if is_about(f, drift)) & {"refused", *LATER}]
        wrong = [f"check: does not refuse {d}" for d in group if d not in bad and verdict(d) == "refused"]
        wrong += [f"check: refuses {drift}, which is exact" for drift in bad if verdict(drift) == "exact"]
        wrong += refusals(bad, url) if bad else []
    rest = [drift for drift in group if drift not in bad]
    if rest and not wrong:
        with drifted(worlds, rest) as url:
            check, ran = (command(rest[0].shape, url, word) for word in ("check", "run"))
            reconciled = command(rest[0].shape, url, "reconcile")
            if (check.code, ran.code, reconciled.code) != (0, 3, 0):
                return [*map(str, rest), *map(ended, (check, ran, reconciled))]
            wrong = differences(figures(url), worlds.expected(rest[0].shape))
    return wrong


LATER = {"unwritable", "unprovable"}
"""What stands in the way of a run, and not of `reconcile`."""


def _levels(found: Iterable[Mapping[str, Any]]) -> set[str]:
    return {finding["level"] for finding in found}


def is_about(finding: Mapping[str, Any], drift: Drift) -> bool:
    """Whether it names a drift, or something of it; of our own tables one finding names all columns that lack."""
    named = tuple(f"{name}{end}" for name in drift.names for end in " .")
    lacks = f" {drift.column}," if drift.is_own and drift.is_gone else "?"
    if f"{finding['subject']} ".startswith(named):
        return True
    return finding["subject"] == drift.table and lacks in f"{finding['found']},"


def ended(ran: Ran) -> str:
    """An exit code and the last that was said, for a person."""
    return f"exit {ran.code}: {(ran.err.strip() or ran.out.strip())[-200:]}"


def refusals(group: Sequence[Drift], url: str) -> list[str]:
    """Every command that writes refuses each by name, and says what it found; nothing is written."""
    before, wrong = digest(url), []
    for words in (("run", "--dry-run"), ("run",)):
        ran = command(group[0].shape, url, *words)
        wrong += [] if ran.code == 5 else [f"{' '.join(words)}: {ended(ran)}"]
        wrong += [f"{' '.join(words)}: {d} not named and found ({d.found})" for d in group if not is_named(ran.err, d)]
    reconciled = command(group[0].shape, url, "reconcile")
    wrong += [] if reconciled.code in (0, 5) else [f"reconcile: {ended(reconciled)}"]
    changed = [name for name, text in digest(url).items() if before.get(name) != text]
    return [*wrong, *(f"run: refused, and has written {name}" for name in changed)]


def is_named(message: str, drift: Drift) -> bool:
    if drift.is_own and drift.is_gone and drift.column is not None:
        return re.search(rf"{drift.table}: [^.]* without [a-z_, ]*\b{drift.column}\b", message) is not None
    return any(name in message for name in drift.names) and (drift.found in message or drift.how == "a view")


def _gone(drift: Drift) -> tuple[str, ...]:
    return (drift.subject,) if drift.is_gone else ()


def mended(worlds: Worlds, drift: Drift) -> list[str]:
    """Everything that is wrong after `schema --apply` on a drift of our own tables, and the run that follows.

    Apply may refuse by name what it cannot restore. If it does not, the run decides as if nothing had happened: what a
    closed month has lost is lost, but nobody pays or is drawn otherwise.
    """
    with drifted(worlds, [drift]) as url:
        applied = command(drift.shape, url, "schema", "--apply")
        if applied.code not in (0, 5):
            return [f"schema --apply: {ended(applied)}"]
        if applied.code == 5 and not all(name in applied.err for name in drift.subject.split(".")):
            return [f"schema --apply: refuses, and names no {drift.subject}: {ended(applied)}"]
        return _after(worlds, drift, url)


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
