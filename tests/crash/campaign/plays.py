"""What the campaign disturbs: three commands, each on a database of its own, and what they come to undisturbed.

``first``: the first run of all, which adopts another program's draws. ``night``: the night of tests/support, with draws
and corrections in both directions. ``backfill``: a month that has closed, changed upstream, and the open one after it.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import night as world
import psycopg
from commands import ask
from conftest import Databases
from killing import OF_USERS, Rows, Tables, cloned, command, named, tables
from wire import Statement, Verdict, Wire

from jobs.settings import Settings, load

CLOSING = {"USAGE_JOBS_CLOSE_AFTER_DAYS": "1"}  # May closes with the first run
DRAWN_BEFORE = (
    "UPDATE usage_daily SET credits_deducted = 0.40 WHERE user_id IN ('ann', 'cy') AND date = '2026-05-30'",
    "UPDATE user_credits SET free_credits_used = 0.30, total_used = 0.10 WHERE user_id IN ('ann', 'cy')",
)
DONE = (0, 3)
"""The exit codes of a command that has done its work."""


@dataclass(frozen=True)
class Play:
    """A command and the database it is for. ``states``: what users' tables may hold, each user all of one of them;
    the last one is the end. ``statements``, ``commits``: how many of each an undisturbed one takes."""

    name: str
    words: tuple[str, ...]
    variables: Mapping[str, str]
    url: str
    states: tuple[Tables, ...]
    statements: int
    commits: int

    @property
    def settings(self) -> Settings:
        return load(None, dict(self.variables), Path(__file__).parent)

    @property
    def after(self) -> Tables:
        return self.states[-1]


def plays(databases: Databases, workers: int) -> list[Play]:
    """All three, on this server; so many batches are at work at a time."""
    open_ = world.EACH_USER_ALONE | {"USAGE_JOBS_WORKERS": str(workers)}
    closing = open_ | CLOSING
    night = ("run", "--date", str(world.LAST_DAY))
    again = ("backfill", "--from", "2026-05-01", "--to", str(world.LAST_DAY), "--reason", "collected wrongly", "--yes")
    return [
        _play(databases, "first", night, open_, lambda url: _do(url, *DRAWN_BEFORE)),
        _play(databases, "night", night, open_, lambda url: _booked(url, open_)),
        _play(databases, "backfill", again, closing, lambda url: _booked(url, closing)),
    ]


def stored(url: str) -> Tables:
    """The tables, with one date for all billing modes that a backfill enters: their first day is yesterday, by the
    server's clock, and a midnight may come between a play and an episode."""
    found = tables(url)
    modes = [row | {"valid_from": min(row["valid_from"], world.TODAY)} for row in found["billing_modes"].values()]
    return found | {"billing_modes": {(row["user_id"], row["valid_from"]): row for row in modes}}


def _do(url: str, *statements: str) -> None:
    for statement in statements:
        ask(url, statement)


def _booked(url: str, variables: Mapping[str, str]) -> None:
    _ended(url, ("run", "--date", str(world.BOOKED)), variables)
    world.upset(url)


def _ended(url: str, words: tuple[str, ...], variables: Mapping[str, str]) -> None:
    process = command(url, *words, **variables)
    said, _ = process.communicate()
    assert process.returncode in DONE, said


def _play(
    databases: Databases,
    name: str,
    words: tuple[str, ...],
    variables: Mapping[str, str],
    prepare: Callable[[str], None],
) -> Play:
    url = world.filled(databases)
    prepare(url)
    copy, seen = cloned(databases, named(url)), list[str]()
    states: list[Tables] = [stored(url)]

    def hook(statement: Statement) -> Verdict:
        seen.append(statement.text)
        if statement.text == "COMMIT":  # before and after adoption, say
            states.append(stored(copy))
        return Verdict.PASS

    with Wire(copy, hook) as wire:
        _ended(wire.url, words, variables)
    # Batches are side by side: what stands between two of them is a user before and another after.
    return Play(name, words, variables, url, _whole(states, stored(copy)), len(seen), seen.count("COMMIT"))


def _whole(states: list[Tables], after: Tables) -> tuple[Tables, ...]:
    """The first state, that after adoption (which comes before any batch) where it differs, and the last one."""
    adopted = next((state for state in states if state["credit_draws"] != states[0]["credit_draws"]), after)
    imported = all(key[2] == 0 for key in adopted["credit_draws"])
    return (states[0], adopted, after) if imported and adopted["credit_draws"] else (states[0], after)


def by_user(found: Tables) -> dict[str, dict[str, Rows]]:
    """What stands in users' tables, by user and table."""
    users: dict[str, dict[str, Rows]] = {}
    for table in OF_USERS:
        for key, row in found[table].items():
            users.setdefault(row["user_id"], {}).setdefault(table, {})[key] = row
    return users


def torn(found: Tables, states: tuple[Tables, ...]) -> list[str]:
    """The users that stand as in none of the states: law 7 is broken."""
    possible, now = [by_user(state) for state in states], by_user(found)
    users = {user for state in (*possible, now) for user in state}
    return sorted(user for user in users if not any(now.get(user) == state.get(user) for state in possible))


def unfinished(url: str) -> bool:
    """Whether a run of this database says that it still runs."""
    with psycopg.connect(url) as connection:
        found = connection.execute("SELECT status FROM rollup.runs ORDER BY run_id").fetchall()
    return ("running",) in found or found[-1] != ("done",)
