"""`usage-jobs watch`: finds closed months whose usage, prices or price overrides have changed since they were closed.

Detection finds on the server the user-months whose inputs differ. Only these are read and recomputed. A month has
changed if a result differs from the stored rows. So two changes that cancel out are found, and a new price of a meter
without usage is not reported.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import date
from decimal import Decimal
from typing import NamedTuple

import polars as pl

from jobs.audit.recalculation import is_same, join_stored
from jobs.credits.allocation import apply_ledger
from jobs.domain.billing_periods import Window, first_open_month, is_closed, last_of
from jobs.domain.fixed_point import unscaled
from jobs.domain.tables import USER_MONTH
from jobs.domain.work_list import BatchLimits, WorkList
from jobs.pipeline.batch_input import BatchInput
from jobs.pipeline.batch_reading import read_input
from jobs.pipeline.planning import make_window_scope
from jobs.pipeline.rollup_targets import compute_days_target, compute_months_target
from jobs.postgres import detection, fingerprints, preflight, run_log, server_clock
from jobs.postgres.connections import Connection, query_database
from jobs.postgres.conninfo import Address
from jobs.postgres.detection import ChangedInput
from jobs.postgres.fingerprints import FingerprintDefinition
from jobs.postgres.run_scope import RunScope
from jobs.postgres.usage_reader import Reader
from jobs.rollups.causes import is_repriced
from jobs.settings import Settings

NOT_COMPARED = {*USER_MONTH, "billing_mode", "currency", "clusters", "row_count", "usage_hash", "written_hash"} | {
    *("credits_free", "credits_purchased", "credits_deducted", "uncovered"),
    *("amount_due", "amount_reported", "amount_free"),
}
"""Columns of user_monthly whose difference is not a change of the month."""
CAUSES = ("usage", "price", "override")


@dataclass(frozen=True, slots=True)
class ClosedMonth:
    """A closed month: its usage rows and total cost when it closed and now.

    - ``users``: how many user-months differ; ``causes``: how many by each cause
    - ``missing``: columns that its fingerprints cover and that do not exist any more; such a month is not compared
    """

    month: date
    rows_before: int
    rows_now: int
    total_before: Decimal | None
    total_now: Decimal
    users: int
    causes: Mapping[str, int]
    changed: bool
    currency: str
    missing: tuple[str, ...] = ()

    @property
    def remedy(self) -> str:
        """The command that recomputes the month."""
        days = f"--from {self.month} --to {last_of(self.month)}"
        return f"usage-jobs backfill {days} --reason '{' and '.join(sorted(self.causes)) or 'usage'} changed'"


class _Change(NamedTuple):
    """A user-month whose results differ; ``more``: the increase of its cost, in units of 10^-10."""

    month: date
    cause: str
    more: int


def watch_closed_months(settings: Settings, address: Address, *, every: bool) -> list[ClosedMonth]:
    """The last ``watch_months`` closed months (``every``: all), oldest first; read-only, in one snapshot.

    Raises ConfigError if a price of one of these months has been removed.
    """
    return query_database(address, lambda connection: _watch(connection, settings, address, every=every), snapshot=True)


def _watch(connection: Connection, settings: Settings, address: Address, *, every: bool) -> list[ClosedMonth]:
    source, findings = preflight.inspect_source(connection, settings)
    preflight.refuse_findings(findings, purpose="prove")
    today = server_clock.today(connection)
    history, months = run_log.read_history(connection, settings, today)
    first_open = first_open_month(history, settings.start, history.furthest or today)
    closed = sorted(month for month in months.modes if is_closed(month, history, first_open))
    chosen = tuple(closed if every else closed[-settings.watch_months :])
    if not chosen:
        return []
    window = Window(chosen, last_of(chosen[-1]), frozenset(), frozenset(chosen))
    scope, missing = _with_stored_fingerprints(make_window_scope(connection, settings, source, window, months))
    comparable = [month for month in chosen if month not in missing]
    rows, inputs = detection.find_changed_inputs(connection, scope, comparable) if comparable else ({}, [])
    changes = list(_compare(connection, scope, address, inputs))
    return [_closed_month(scope, month, rows.get(month, 0), changes, missing.get(month, ())) for month in chosen]


def _with_stored_fingerprints(scope: RunScope) -> tuple[RunScope, dict[date, tuple[str, ...]]]:
    """The scope with the fingerprints that each month was closed with, and their missing columns by month."""
    existing, definitions, missing = scope.source.columns, dict(scope.fingerprint_definitions), {}
    for month in scope.window.months:
        text = scope.month_records.fingerprint_definitions.get(month)
        stored = None if text is None else FingerprintDefinition.parse(text)
        if stored is not None:
            if gone := sorted(stored.columns - existing):
                missing[month] = tuple(gone)
            else:
                definitions[month] = stored
    query = replace(scope.query, usage_hash=fingerprints.usage_hash(definitions))
    return replace(scope, fingerprint_definitions=definitions, query=query), missing


def _compare(
    connection: Connection, scope: RunScope, address: Address, changed_inputs: Iterable[ChangedInput]
) -> Iterator[_Change]:
    """Recomputes the users whose inputs differ; yields the user-months whose results differ from the stored rows."""
    by_month = {(each.user, each.month): each for each in changed_inputs}
    # The number of rows of a user is not known here: assume one a day.
    work = WorkList(BatchLimits(scope.settings.batch_rows, scope.settings.batch_rows))
    for user in sorted({user for user, _ in by_month}):
        work.add(user, len(scope.window.days), 0)
    for batch in work:
        inputs = read_input(connection, Reader("copy", address), scope, batch)
        for month, user, has_new_price, more in _find_differences(scope, inputs).iter_rows():
            if each := by_month.get((user, month)):
                yield _Change(month, _cause(each, has_new_price=has_new_price), more)


def _find_differences(scope: RunScope, inputs: BatchInput) -> pl.DataFrame:
    """The user-months whose results differ from the stored rows: month, user_id, whether the price of a used meter has
    changed, and the increase of their cost (units of 10^-10)."""
    rows = apply_ledger(inputs.for_credits, scope.credit_rules)
    target = compute_months_target(scope, inputs, rows)
    figures = [name for name in target.columns if name in inputs.stored_months.columns and name not in NOT_COMPARED]
    stored = inputs.stored_months.select(*USER_MONTH, *figures, rates_hash_stored="rates_hash")
    both = join_stored(target.select(*USER_MONTH, *figures), stored, USER_MONTH)
    # Months of the first version have no _days columns: such a column cannot differ.
    same = is_same(name for name in figures if not name.endswith("_days"))
    changed = pl.concat([both.filter(~same).select(USER_MONTH), _months_of_changed_days(scope, inputs, rows)])
    hashes = {month: scope.rates_hash(month) for month in scope.window.months}
    repriced = {month: scope.find_repriced_meters(month) for month in scope.window.months}
    more = pl.col("total_cost").fill_null(0) - pl.col("total_cost_stored").fill_null(0)
    return (
        both.join(changed.unique(), on=USER_MONTH)
        .with_columns(rates_hash=pl.col("month").replace_strict(hashes, return_dtype=pl.String))
        .select(
            *USER_MONTH,
            is_repriced([meter.name for meter in scope.settings.meters], repriced).alias("has_new_price"),
            more,
        )
    )


def _months_of_changed_days(scope: RunScope, inputs: BatchInput, rows: pl.DataFrame) -> pl.DataFrame:
    """The user-months whose rows in user_daily differ from a recomputation.

    Months of the first version are left out: they have no rows in user_daily.
    """
    months = [
        month for month in scope.window.months if scope.month_records.fingerprint_definitions.get(month) is not None
    ]
    columns = [name for name in inputs.stored_days.columns if name != "credits_deducted"]
    month = pl.col("date").dt.month_start().alias("month")
    target = compute_days_target(scope, rows).select(columns).filter(month.is_in(months))
    stored = inputs.stored_days.select(columns).filter(month.is_in(months))
    pairs = ((target, stored), (stored, target))
    return pl.concat(
        one.join(other, on=columns, how="anti", nulls_equal=True).select(month, "user_id") for one, other in pairs
    )


def _cause(found: ChangedInput, *, has_new_price: bool) -> str:
    """The inputs that differ, joined by +; the price only if a price of a used meter has changed."""
    return "+".join(word for word in CAUSES if getattr(found, word) and (word != "price" or has_new_price))


def _closed_month(
    scope: RunScope, month: date, rows_now: int, changes: Iterable[_Change], missing: tuple[str, ...]
) -> ClosedMonth:
    changes = [change for change in changes if change.month == month]
    causes, before = Counter(change.cause for change in changes), scope.month_records.totals[month]
    return ClosedMonth(
        month,
        scope.month_records.rows[month],
        rows_now,
        before,
        (before or Decimal(0)) + unscaled(sum(change.more for change in changes)),
        len(changes),
        dict(causes),
        bool(changes),
        scope.currencies[month],
        missing,
    )
