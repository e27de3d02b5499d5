"""The run log (``rollup.runs``) and the months (``rollup.months``): reads earlier runs and writes this one."""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from datetime import date
from decimal import Decimal
from importlib.metadata import version
from typing import Any

from jobs.domain.billing_periods import History, Window
from jobs.domain.errors import PreflightError
from jobs.domain.fixed_point import PLACES
from jobs.postgres.connections import Connection, read_dicts, read_row, read_value, transaction
from jobs.postgres.errors import name_refusals
from jobs.postgres.sql_loader import bind_columns, compose, in_spans
from jobs.settings import Settings


@dataclass(frozen=True, slots=True)
class MonthRecords:
    """The rows of rollup.months, by month.

    - ``modes``: cost mode
    - ``rows``, ``hashes``: usage rows that the last run counted, and their hash
    - ``rates``: hash of its prices (``RunScope.month_rates``)
    - ``totals``: cost
    - ``fingerprint_definitions``: what the fingerprints of its rows include (``FingerprintDefinition.text``)
    - ``currencies``: currency
    """

    modes: Mapping[date, str]
    rows: Mapping[date, int]
    hashes: Mapping[date, int | None]
    rates: Mapping[date, str | None]
    totals: Mapping[date, Decimal | None]
    fingerprint_definitions: Mapping[date, str | None]
    currencies: Mapping[date, str | None]


def read_history(connection: Connection, settings: Settings, today: date) -> tuple[History, MonthRecords]:
    """Reads earlier runs and months, for windows and for the shrink check. ``today``: by the server's clock."""
    [past] = read_dicts(connection, compose("run_log.history", settings), today=today)
    known = read_dicts(connection, compose("months.all", settings))
    closed = frozenset(row["month"] for row in known if row["closed"])
    records = {each.name: {row["month"]: row[each.name] for row in known} for each in fields(MonthRecords)}
    return History(**past, closed=closed), MonthRecords(**records)


def has_user_days(connection: Connection, settings: Settings, window: Window) -> bool:
    """Whether user_daily has any row of the days of ``window``."""
    days = in_spans("date", window.spans())
    return bool(read_value(connection, compose("months.has_user_days", settings, days=days)))


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
        connection.execute(compose("run_log.mark_crashed", settings))
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
    tries = 0
    with name_refusals(f"{settings.rollup_schema}.runs"):
        while (row := read_row(connection, compose(name, settings), **values)) is None:
            if read_value(connection, compose("run_log.taken_numbers", settings)) <= tries:
                raise PreflightError(
                    f"{settings.rollup_schema}.runs: expected a table that takes a new run; found that its INSERT "
                    "writes nothing. Look for a trigger or a rule on it; nothing was written"
                )
            tries += 1
    return int(row[0])


def read_covered_to(connection: Connection, settings: Settings, today: date) -> date | None:
    """Returns the last day of the furthest finished run."""
    day: date | None = read_value(connection, compose("run_log.covered_to", settings), {"today": today})
    return day


def read_last_done(connection: Connection, settings: Settings) -> tuple[int, dict[str, Any] | None] | None:
    """Returns the last finished run and its ``Settings.inputs`` (None: an old version stored none); None before the
    first."""
    row: tuple[int, dict[str, Any] | None] | None = read_row(connection, compose("run_log.last_done", settings))
    return row


def find_interrupted_backfill(connection: Connection, settings: Settings, window: Window) -> tuple[int, str] | None:
    """Returns run_id and status of the last backfill of these days, if it did not finish; else None."""
    row = read_row(connection, compose("run_log.interrupted", settings), first=window.first, last=window.last)
    return None if row is None or row[1] == "done" else row


def find_new_months(connection: Connection, settings: Settings, months: Sequence[date]) -> frozenset[date]:
    """Returns those of ``months`` of which nothing is stored yet."""
    return frozenset(
        row["month"] for row in read_dicts(connection, compose("months.new_months", settings), months=list(months))
    )


def record_cost_modes(
    connection: Connection,
    settings: Settings,
    modes: Mapping[date, str],
    currencies: Mapping[date, str],
    fingerprint_definitions: Mapping[date, str],
) -> None:
    """Stores cost mode, currency and fingerprint definition of months that no run has covered, in the caller's
    transaction: after a crash the next run then computes only the rest."""
    rows = ((month, mode, fingerprint_definitions.get(month), currencies[month]) for month, mode in modes.items())
    values = bind_columns("months modes fingerprints currencies", rows)
    connection.execute(compose("months.record_modes", settings), values)


def update_months(
    connection: Connection, settings: Settings, records: Sequence[Mapping[str, Any]], run_id: int
) -> None:
    """Stores the figures of each month, and closes months that are due, in the caller's transaction."""
    text = compose("months.update", settings)
    for record in records:
        connection.execute(text, {**record, "run_id": run_id})


def find_month_changes(
    connection: Connection, settings: Settings, records: Sequence[Mapping[str, Any]]
) -> list[tuple[date, str, str]]:
    """Returns the months whose visible values would change: month, before, after."""
    text = compose("months.figures_of_months", settings)
    stored = dict(connection.execute(text, [[record["month"] for record in records]]).fetchall())
    changed = []
    for record in records:
        month, before = record["month"], stored.get(record["month"], "")
        closed = record["closes"] or before.endswith(" closed")
        total = format(record["total_cost"].quantize(Decimal(1).scaleb(-PLACES)), "f")
        after = f"{record['row_count']} {record['rates_hash']} {total}{' closed' if closed else ''}"
        if before != after:
            changed.append((month, before, after))
    return changed


def reopen_month(connection: Connection, settings: Settings, month: date) -> None:
    """Opens a closed month, in the caller's transaction."""
    connection.execute(compose("months.reopen", settings), [month])


def finish_run(connection: Connection, settings: Settings, run_id: int, status: str, **figures: Any) -> bool:
    """Stores the end of this run. Returns False where its status is no longer `running`: another run has started."""
    names = ("rows_read", "rows_rejected", "rows_changed", "total_cost", "credits", "covered_to")
    empty = dict.fromkeys((*names, "accounts", "overrides", "error"))
    values = empty | figures | {"run_id": run_id, "status": status}
    return connection.execute(compose("run_log.finish", settings), values).rowcount == 1


def read_status(connection: Connection, settings: Settings, run_id: int) -> str | None:
    """Returns the status of a run in the log; None where there is no such run."""
    row = read_row(connection, compose("run_log.status", settings), run_id=run_id)
    return None if row is None else str(row[0])


def read_runs(connection: Connection, settings: Settings, limit: int) -> list[dict[str, Any]]:
    """Returns the run log, newest first."""
    return read_dicts(connection, compose("run_log.list", settings), limit=limit)
