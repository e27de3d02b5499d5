"""``rollup.runs`` and ``rollup.months``: what earlier runs did, and what this one says of itself."""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from importlib.metadata import version
from typing import Any

from psycopg import sql
from psycopg.rows import dict_row

from jobs.domain.billing_periods import History, Window
from jobs.domain.errors import PreflightError
from jobs.domain.fixed_point import PLACES
from jobs.postgres.connections import Connection, transaction
from jobs.postgres.errors import writing
from jobs.postgres.sql_loader import compose, in_spans, job_table
from jobs.settings import Settings


@dataclass(frozen=True, slots=True)
class MonthRecords:
    """What rollup.months has of each month: its cost mode, the rows that the last run counted and their hash, the hash
    of what priced it, its cost, what the fingerprints of its rows cover, and its currency."""

    modes: Mapping[date, str]
    rows: Mapping[date, int]
    hashes: Mapping[date, int | None]
    rates: Mapping[date, str | None]
    totals: Mapping[date, Decimal | None]
    fingerprints: Mapping[date, str | None]
    currencies: Mapping[date, str | None]


def history(connection: Connection, settings: Settings, today: date) -> tuple[History, MonthRecords]:
    """What earlier runs left, for windows and for the shrink check; ``today`` on the server's clock."""
    runs, months = job_table(settings, "runs"), job_table(settings, "months")
    with connection.cursor(row_factory=dict_row) as cursor:
        text = compose("run_log.history", runs=runs, wrote=wrote_condition(settings))
        past = cursor.execute(text, {"today": today}).fetchone() or {}
        known = cursor.execute(
            compose(
                "months.read",
                months=months,
                is_covered=_covered(settings),
                user_monthly=job_table(settings, "user_monthly"),
            )
        ).fetchall()
    closed = frozenset(row["month"] for row in known if row["closed"])
    return (
        History(past.get("first_run"), past.get("furthest"), closed),
        MonthRecords(
            *(
                {row["month"]: row[name] for row in known}
                for name in (
                    "cost_mode",
                    "row_count",
                    "usage_hash",
                    "rates_hash",
                    "total_cost",
                    "fingerprint",
                    "currency",
                )
            )
        ),
    )


def has_user_days(connection: Connection, settings: Settings, window: Window) -> bool:
    """Whether user_daily has any row of the days of ``window``."""
    days = in_spans("date", window.spans())
    row = connection.execute(
        compose("months.has_user_days", user_daily=job_table(settings, "user_daily"), days=days)
    ).fetchone()
    return row is not None and bool(row[0])


@contextmanager
def starting_run(connection: Connection, settings: Settings) -> Iterator[Connection]:
    """The transaction in which a run begins: older running rows are marked crashed, and may write no more.

    Whoever begins at the same time waits: of two that did not see each other's row both would be running.
    """
    with transaction(connection):
        connection.execute(
            "SELECT pg_advisory_xact_lock(hashtext('usage-jobs begin'), hashtext(%s))", [settings.rollup_schema]
        )
        connection.execute(compose("run_log.mark_crashed", runs=job_table(settings, "runs")))
        yield connection


def enter_run(connection: Connection, settings: Settings, kind: str, window: Window, **told: str | None) -> int:
    """Adds our own row, running, inside ``starting_run``; its id.

    ``told``: rates_hash; who; of a backfill its reason.
    """
    own_words = dict.fromkeys(("rates_hash", "reason", "plan", "who")) | {"version": version("usage-jobs")} | told
    own_words["inputs"] = json.dumps(settings.inputs)
    days = {"kind": kind, "window_from": window.first, "window_to": window.last}
    return numbered(connection, settings, "run_log.begin", days | own_words)


def numbered(connection: Connection, settings: Settings, name: str, values: Mapping[str, Any]) -> int:
    """The number of a new row of the log, by one of its two INSERTs.

    Numbers that are taken are passed over: a server that crashed soon after CREATE DATABASE, or one that was replicated
    without its sequences, counts from an earlier one. (setval would need a privilege more.)
    """
    runs, tries = job_table(settings, "runs"), 0
    with writing(f"{settings.rollup_schema}.runs"):
        while (row := connection.execute(compose(name, runs=runs), values).fetchone()) is None:
            taken = connection.execute(compose("run_log.taken_numbers", runs=runs)).fetchone()
            if not taken or taken[0] <= tries:
                raise PreflightError(
                    f"{settings.rollup_schema}.runs: expected a table that takes a new run; found that its INSERT "
                    "writes nothing. Look for a trigger or a rule on it; nothing was written"
                )
            tries += 1
    return int(row[0])


def last_completed_day(connection: Connection, settings: Settings, today: date) -> date | None:
    """The last day of the furthest run that came to its end."""
    text = compose("run_log.done_until", runs=job_table(settings, "runs"))
    row = connection.execute(text, {"today": today}).fetchone()
    return None if row is None else row[0]


def last_done(connection: Connection, settings: Settings) -> tuple[int, dict[str, Any] | None] | None:
    """The last finished run and its ``Settings.inputs`` (None: of a version that kept none); None before the first."""
    row = connection.execute(compose("run_log.last_done", runs=job_table(settings, "runs"))).fetchone()
    return None if row is None else (int(row[0]), row[1])


def interrupted(connection: Connection, settings: Settings, window: Window) -> tuple[int, str] | None:
    """The last backfill of these days, and how it ended, if it ended before it was done."""
    text = compose("run_log.interrupted", runs=job_table(settings, "runs"))
    row = connection.execute(text, [window.first, window.last]).fetchone()
    return None if row is None or row[1] == "done" else (int(row[0]), str(row[1]))


def wrote_condition(settings: Settings) -> sql.Composed:
    """The condition that a run, ``r`` in rollup.runs, has written something: one that died could not say so."""
    tables = {name: job_table(settings, name) for name in ("user_monthly", "touched_days")}
    return compose("run_log.wrote", **tables)


def _covered(settings: Settings) -> sql.Composed:
    """The condition that a run has covered a month, ``m`` in rollup.months."""
    return compose("months.is_covered", user_monthly=job_table(settings, "user_monthly"))


def new_months(connection: Connection, settings: Settings, months: Sequence[date]) -> frozenset[date]:
    """Those of ``months`` of which nothing is stored yet."""
    tables = {name: job_table(settings, name) for name in ("months", "user_monthly")}
    found = connection.execute(compose("months.new_months", is_covered=_covered(settings), **tables), [list(months)])
    return frozenset(row[0] for row in found)


def keep_cost_modes(
    connection: Connection,
    settings: Settings,
    modes: Mapping[date, str],
    currencies: Mapping[date, str],
    fingerprints: Mapping[date, str],
) -> None:
    """Records the cost mode and the currency of months that no run has covered, and what the hashes of new ones cover,
    so that after a crash only the rest is computed; inside the caller's transaction."""
    text = compose("months.keep_modes", months=job_table(settings, "months"), is_covered=_covered(settings))
    for month, mode in modes.items():
        kept = {"month": month, "cost_mode": mode, "fingerprint": fingerprints.get(month)}
        kept["currency"] = currencies[month]
        connection.execute(text, kept)


def book_months(
    connection: Connection, settings: Settings, figures: Sequence[Mapping[str, Any]]
) -> list[tuple[date, str, str]]:
    """Writes what the run found in each month, and closes those that it closes; what changed: before, after."""
    changed = months_to_book(connection, settings, figures)
    text = compose("months.book", months=job_table(settings, "months"))
    for figure in figures:
        connection.execute(text, figure)
    return changed


def months_to_book(
    connection: Connection, settings: Settings, figures: Sequence[Mapping[str, Any]]
) -> list[tuple[date, str, str]]:
    """The months of which what a person sees would change: before, after."""
    text = compose("months.figures_of_months", months=job_table(settings, "months"))
    stored = dict(connection.execute(text, [[figure["month"] for figure in figures]]).fetchall())
    changed = []
    for figure in figures:
        month, before = figure["month"], stored.get(figure["month"], "")
        closed = figure["closes"] or before.endswith(" closed")
        total = format(figure["total_cost"].quantize(Decimal(1).scaleb(-PLACES)), "f")
        after = f"{figure['row_count']} {figure['rates_hash']} {total}{' closed' if closed else ''}"
        if before != after:
            changed.append((month, before, after))
    return changed


def open_month(connection: Connection, settings: Settings, month: date) -> None:
    """Opens a closed month, in the caller's transaction."""
    connection.execute(compose("months.open", months=job_table(settings, "months")), [month])


def finish_run(connection: Connection, settings: Settings, run_id: int, status: str, **figures: Any) -> bool:
    """Ends our row; False where it no longer says running: another run has taken over."""
    names = ("rows_read", "rows_rejected", "rows_changed", "total_cost", "credits", "covered_to")
    empty = dict.fromkeys((*names, "accounts", "overrides", "error"))
    values = empty | figures | {"run_id": run_id, "status": status}
    return connection.execute(compose("run_log.finish", runs=job_table(settings, "runs")), values).rowcount == 1


def status(connection: Connection, settings: Settings, run_id: int) -> str | None:
    """What the log says of a run; None where it has no such run."""
    row = connection.execute(compose("run_log.status", runs=job_table(settings, "runs")), [run_id]).fetchone()
    return None if row is None else str(row[0])


def read_runs(connection: Connection, settings: Settings, limit: int) -> list[dict[str, Any]]:
    """The run log, newest first."""
    with connection.cursor(row_factory=dict_row) as cursor:
        return cursor.execute(compose("run_log.list", runs=job_table(settings, "runs")), [limit]).fetchall()
