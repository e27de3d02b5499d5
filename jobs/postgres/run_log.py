"""The run log (``rollup.runs``) and the months (``rollup.months``): reads earlier runs and writes this one."""

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
from jobs.postgres.errors import name_refusals
from jobs.postgres.sql_loader import compose, in_spans, job_table
from jobs.settings import Settings


@dataclass(frozen=True, slots=True)
class MonthRecords:
    """The rows of rollup.months, by month.

    - ``modes``: cost mode
    - ``rows``, ``hashes``: usage rows that the last run counted, and their hash
    - ``rates``: hash of its prices (``RunScope.month_rates``)
    - ``totals``: cost
    - ``fingerprints``: what the fingerprints of its rows include (``FingerprintDefinition.text``)
    - ``currencies``: currency
    """

    modes: Mapping[date, str]
    rows: Mapping[date, int]
    hashes: Mapping[date, int | None]
    rates: Mapping[date, str | None]
    totals: Mapping[date, Decimal | None]
    fingerprints: Mapping[date, str | None]
    currencies: Mapping[date, str | None]


def read_history(connection: Connection, settings: Settings, today: date) -> tuple[History, MonthRecords]:
    """Reads earlier runs and months, for windows and for the shrink check. ``today``: by the server's clock."""
    runs, months = job_table(settings, "runs"), job_table(settings, "months")
    with connection.cursor(row_factory=dict_row) as cursor:
        text = compose("run_log.history", runs=runs, wrote=wrote_condition(settings))
        past = cursor.execute(text, {"today": today}).fetchone() or {}
        known = cursor.execute(
            compose(
                "months.all",
                months=months,
                is_covered=_covered_condition(settings),
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
def begin_run(connection: Connection, settings: Settings) -> Iterator[Connection]:
    """Opens the transaction in which a run begins: marks older running rows crashed, so that these runs cannot write.

    Another run that begins at the same time waits; else neither would see the other's row, and both would be running.
    """
    with transaction(connection):
        # No named query: it takes a lock and reads no table.
        connection.execute(
            "SELECT pg_advisory_xact_lock(hashtext('usage-jobs begin'), hashtext(%s))", [settings.rollup_schema]
        )
        connection.execute(compose("run_log.mark_crashed", runs=job_table(settings, "runs")))
        yield connection


def insert_run(connection: Connection, settings: Settings, kind: str, window: Window, **values: str | None) -> int:
    """Adds the row of this run, with status `running`, inside ``begin_run``. Returns its run_id.

    ``values``: rates_hash, who; of a backfill, a reopening or a write-off its reason.
    """
    given = dict.fromkeys(("rates_hash", "reason", "plan", "who")) | {"version": version("usage-jobs")} | values
    given["inputs"] = json.dumps(settings.inputs)
    days = {"kind": kind, "window_from": window.first, "window_to": window.last}
    return insert_numbered(connection, settings, "run_log.insert", days | given)


def insert_numbered(connection: Connection, settings: Settings, name: str, values: Mapping[str, Any]) -> int:
    """Adds a row to the run log by the INSERT ``name`` (there are two). Returns its run_id.

    Ids that are taken are skipped: the sequence of a server that crashed soon after CREATE DATABASE, or was replicated
    without its sequences, starts again at an earlier one. (setval would need another privilege.)
    """
    runs, tries = job_table(settings, "runs"), 0
    with name_refusals(f"{settings.rollup_schema}.runs"):
        while (row := connection.execute(compose(name, runs=runs), values).fetchone()) is None:
            taken = connection.execute(compose("run_log.taken_numbers", runs=runs)).fetchone()
            if not taken or taken[0] <= tries:
                raise PreflightError(
                    f"{settings.rollup_schema}.runs: expected a table that takes a new run; found that its INSERT "
                    "writes nothing. Look for a trigger or a rule on it; nothing was written"
                )
            tries += 1
    return int(row[0])


def read_last_completed_day(connection: Connection, settings: Settings, today: date) -> date | None:
    """Returns the last day of the furthest finished run."""
    text = compose("run_log.last_completed_day", runs=job_table(settings, "runs"))
    row = connection.execute(text, {"today": today}).fetchone()
    return None if row is None else row[0]


def read_last_done(connection: Connection, settings: Settings) -> tuple[int, dict[str, Any] | None] | None:
    """Returns the last finished run and its ``Settings.inputs`` (None: an old version stored none); None before the
    first."""
    row = connection.execute(compose("run_log.last_done", runs=job_table(settings, "runs"))).fetchone()
    return None if row is None else (int(row[0]), row[1])


def find_interrupted_backfill(connection: Connection, settings: Settings, window: Window) -> tuple[int, str] | None:
    """Returns run_id and status of the last backfill of these days, if it did not finish; else None."""
    text = compose("run_log.interrupted", runs=job_table(settings, "runs"))
    row = connection.execute(text, [window.first, window.last]).fetchone()
    return None if row is None or row[1] == "done" else (int(row[0]), str(row[1]))


def wrote_condition(settings: Settings) -> sql.Composed:
    """Returns the condition that a run, ``r`` in rollup.runs, has written something: a run that died has no counts."""
    tables = {name: job_table(settings, name) for name in ("user_monthly", "touched_days")}
    return compose("run_log.has_written", **tables)


def _covered_condition(settings: Settings) -> sql.Composed:
    """Returns the condition that a run has covered a month, ``m`` in rollup.months."""
    return compose("months.is_covered", user_monthly=job_table(settings, "user_monthly"))


def find_new_months(connection: Connection, settings: Settings, months: Sequence[date]) -> frozenset[date]:
    """Returns those of ``months`` of which nothing is stored yet."""
    tables = {name: job_table(settings, name) for name in ("months", "user_monthly")}
    found = connection.execute(
        compose("months.new_months", is_covered=_covered_condition(settings), **tables), [list(months)]
    )
    return frozenset(row[0] for row in found)


def record_cost_modes(
    connection: Connection,
    settings: Settings,
    modes: Mapping[date, str],
    currencies: Mapping[date, str],
    fingerprints: Mapping[date, str],
) -> None:
    """Stores cost mode, currency and fingerprint definition of months that no run has covered, in the caller's
    transaction: after a crash the next run then computes only the rest."""
    text = compose("months.record_modes", months=job_table(settings, "months"), is_covered=_covered_condition(settings))
    for month, mode in modes.items():
        values = {"month": month, "cost_mode": mode, "fingerprint": fingerprints.get(month)}
        connection.execute(text, values | {"currency": currencies[month]})


def update_months(
    connection: Connection, settings: Settings, figures: Sequence[Mapping[str, Any]], run_id: int
) -> None:
    """Stores the figures of each month, and closes months that are due, in the caller's transaction."""
    text = compose("months.update", months=job_table(settings, "months"))
    for figure in figures:
        connection.execute(text, {**figure, "run_id": run_id})


def find_month_changes(
    connection: Connection, settings: Settings, figures: Sequence[Mapping[str, Any]]
) -> list[tuple[date, str, str]]:
    """Returns the months whose visible values would change: month, before, after."""
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


def reopen_month(connection: Connection, settings: Settings, month: date) -> None:
    """Opens a closed month, in the caller's transaction."""
    connection.execute(compose("months.reopen", months=job_table(settings, "months")), [month])


def finish_run(connection: Connection, settings: Settings, run_id: int, status: str, **figures: Any) -> bool:
    """Stores the end of this run. Returns False where its status is no longer `running`: another run has started."""
    names = ("rows_read", "rows_rejected", "rows_changed", "total_cost", "credits", "covered_to")
    empty = dict.fromkeys((*names, "accounts", "overrides", "error"))
    values = empty | figures | {"run_id": run_id, "status": status}
    return connection.execute(compose("run_log.finish", runs=job_table(settings, "runs")), values).rowcount == 1


def read_status(connection: Connection, settings: Settings, run_id: int) -> str | None:
    """Returns the status of a run in the log; None where there is no such run."""
    row = connection.execute(compose("run_log.status", runs=job_table(settings, "runs")), [run_id]).fetchone()
    return None if row is None else str(row[0])


def read_runs(connection: Connection, settings: Settings, limit: int) -> list[dict[str, Any]]:
    """Returns the run log, newest first."""
    with connection.cursor(row_factory=dict_row) as cursor:
        return cursor.execute(compose("run_log.list", runs=job_table(settings, "runs")), [limit]).fetchall()
