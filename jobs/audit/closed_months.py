"""`usage-jobs watch`: finds closed months whose usage, prices or price overrides have changed since they were closed.

Detection finds on the server the user-months whose inputs differ. Only these are read and recomputed. A month has
changed if a result differs from the stored rows. So two changes that cancel out are found, and a new price of a meter
without usage is not reported.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from decimal import Decimal

import polars as pl

from jobs.audit.recalculation import is_same, join_days, join_stored
from jobs.credits.allocation import apply_ledger
from jobs.domain.billing_periods import Window, first_open_month, is_closed, last_of
from jobs.domain.fixed_point import unscaled
from jobs.domain.tables import USER_DAY, USER_MONTH
from jobs.domain.work_list import BatchLimits, WorkList
from jobs.pipeline.batch_input import BatchInput
from jobs.pipeline.batch_reading import read_input
from jobs.pipeline.planning import make_window_scope
from jobs.pipeline.rollup_targets import compute_months_target
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
_Change = tuple[str, int]
"""Of a user-month whose results differ: the inputs that differ, joined by + (the price only if that of a used meter has
changed); the increase of its cost, in units of 10^-10."""


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
    changes = _find_changes(connection, scope, address, inputs)
    return [
        _closed_month(scope, month, rows.get(month, 0), changes.get(month, []), missing.get(month, ()))
        for month in chosen
    ]


def _with_stored_fingerprints(scope: RunScope) -> tuple[RunScope, dict[date, tuple[str, ...]]]:
    """The scope with the fingerprints that each month was closed with, and their missing columns by month."""
    definitions, missing = dict(scope.fingerprint_definitions), {}
    for month in scope.window.months:
        text = scope.month_records.fingerprint_definitions.get(month)
        stored = None if text is None else FingerprintDefinition.parse(text)
        if stored is not None and stored.columns <= scope.source.columns:
            definitions[month] = stored
        elif stored is not None:
            missing[month] = tuple(sorted(stored.columns - scope.source.columns))
    query = replace(scope.query, usage_hash=fingerprints.usage_hash(definitions))
    return replace(scope, fingerprint_definitions=definitions, query=query), missing


def _find_changes(
    connection: Connection, scope: RunScope, address: Address, changed_inputs: Iterable[ChangedInput]
) -> dict[date, list[_Change]]:
    """Recomputes the users whose inputs differ; returns by month the user-months whose results differ from the stored
    rows."""
    by_month = {(each.month, each.user): each for each in changed_inputs}
    # The number of rows of a user is not known here: assume one a day.
    work = WorkList(BatchLimits(scope.settings.batch_rows, scope.settings.batch_rows))
    for user in sorted({user for _, user in by_month}):
        work.add(user, len(scope.window.days), 0)
    changes: dict[date, list[_Change]] = defaultdict(list)
    for batch in work:
        inputs = read_input(connection, Reader("copy", address), scope, batch)
        for month, user, has_new_price, more in _find_differences(scope, inputs).iter_rows():
            if found := by_month.get((month, user)):
                differing = (word for word in CAUSES if getattr(found, word) and (word != "price" or has_new_price))
                changes[month].append(("+".join(differing), more))
    return changes


def _find_differences(scope: RunScope, inputs: BatchInput) -> pl.DataFrame:
    """The user-months whose results differ from the stored rows: month, user_id, whether the price of a used meter has
    changed, and the increase of their cost (units of 10^-10)."""
    rows = apply_ledger(inputs.for_credits, scope.credit_rules)
    target = compute_months_target(scope, inputs, rows)
    figures = [name for name in target.columns if name in inputs.stored_months.columns and name not in NOT_COMPARED]
    stored = inputs.stored_months.select(*USER_MONTH, *figures, rates_hash_stored="rates_hash")
    both = join_stored(target.select(*USER_MONTH, *figures), stored, USER_MONTH)
    # Months of the first version have no _days columns: such a column cannot differ.
    changed_months = both.filter(~is_same(name for name in figures if not name.endswith("_days")))
    of_days = (name for name in inputs.stored_days.columns if name not in (*USER_DAY, "credits_deducted"))
    changed_days = join_days(scope, rows, inputs).filter(~is_same(of_days))
    changed = pl.concat([changed_months.select(USER_MONTH), changed_days.select(USER_MONTH)]).unique()
    hashes = {month: scope.rates_hash(month) for month in scope.window.months}
    repriced = {month: scope.find_repriced_meters(month) for month in scope.window.months}
    return (
        both.join(changed, on=USER_MONTH)
        .with_columns(rates_hash=pl.col("month").replace_strict(hashes, return_dtype=pl.String))
        .select(
            *USER_MONTH,
            is_repriced([meter.name for meter in scope.settings.meters], repriced).alias("has_new_price"),
            pl.col("total_cost").fill_null(0) - pl.col("total_cost_stored").fill_null(0),
        )
    )


def _closed_month(
    scope: RunScope, month: date, rows_now: int, changes: Sequence[_Change], missing: tuple[str, ...]
) -> ClosedMonth:
    records, before = scope.month_records, scope.month_records.totals[month]
    return ClosedMonth(
        month,
        rows_before=records.rows[month],
        rows_now=rows_now,
        total_before=before,
        total_now=(before or Decimal(0)) + unscaled(sum(more for _, more in changes)),
        users=len(changes),
        causes=dict(Counter(cause for cause, _ in changes)),
        changed=bool(changes),
        currency=scope.currencies[month],
        missing=missing,
    )
