"""`usage-jobs watch`: finds closed months whose usage, prices or price overrides have changed since they were closed.

Detection finds on the server the user-months whose inputs differ. Only these are read and recomputed. A month has
changed if a result differs from the stored rows. So two changes with the same sum are found, and a new price of a meter
without usage is not reported.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import date
from decimal import Decimal

import polars as pl

from jobs.credits.allocation import apply_ledger
from jobs.domain.billing_periods import Window, first_open_month, is_closed, last_of
from jobs.domain.fixed_point import unscaled
from jobs.domain.names import USER_MONTH
from jobs.domain.work_list import BatchLimits, WorkList
from jobs.pipeline.batch_computation import compute_days_target, compute_months_target
from jobs.pipeline.batch_input import BatchInput
from jobs.pipeline.batch_reading import read_input
from jobs.pipeline.planning import make_window_scope
from jobs.postgres import detection, fingerprints, preflight, run_log, server_clock
from jobs.postgres.connections import Connection, open_link, transaction
from jobs.postgres.conninfo import Address
from jobs.postgres.detection import ChangedInput, ChangedInputs
from jobs.postgres.errors import retry
from jobs.postgres.fingerprints import FingerprintDefinition
from jobs.postgres.run_scope import RunScope
from jobs.postgres.usage_reader import Reader
from jobs.rollups.causes import is_repriced
from jobs.settings import Settings

PAID = {"credits_free", "credits_purchased", "credits_deducted", "uncovered", "amount_due", "amount_reported"} | {
    *("amount_free", "billing_mode", "row_count", "usage_hash", "written_hash", "clusters", "currency"),
}
"""Columns of user_monthly about payment and detection: a difference here is not a change of the month."""
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


@dataclass(slots=True)
class _Changes:
    """The changes by month.

    ``causes``: how many user-months have changed, by cause. ``more``: the increase of their cost, in units of 10^-10.
    """

    causes: dict[date, Counter[str]] = field(default_factory=dict)
    more: Counter[date] = field(default_factory=Counter)


def watch_closed_months(settings: Settings, address: Address, *, every: bool) -> list[ClosedMonth]:
    """The last ``watch_months`` closed months (``every``: all), oldest first; read-only, in one snapshot.

    Raises ConfigError if a price of one of these months has been removed.
    """

    def watch() -> list[ClosedMonth]:
        with transaction(link.connection, snapshot=True) as connection:
            return _watch(connection, settings, address, every=every)

    with open_link(address) as link:
        return retry(watch)


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
    found = detection.find_changed_inputs(connection, scope, comparable) if comparable else ChangedInputs()
    changes = _compare(connection, scope, address, found.found)
    return [_closed_month(scope, month, found, changes, missing.get(month, ())) for month in chosen]


def _with_stored_fingerprints(scope: RunScope) -> tuple[RunScope, dict[date, tuple[str, ...]]]:
    """The plan with the fingerprints that each month was closed with, and their missing columns by month."""
    existing, definitions, missing = scope.source.columns, dict(scope.fingerprint_definitions), {}
    for month in scope.window.months:
        text = scope.month_records.fingerprints.get(month)
        stored = None if text is None else FingerprintDefinition.parse(text)
        if stored is not None:
            if gone := sorted(stored.columns - existing):
                missing[month] = tuple(gone)
            else:
                definitions[month] = stored
    query = replace(scope.query, usage_hash=fingerprints.usage_hash(definitions))
    return replace(scope, fingerprint_definitions=definitions, query=query), missing


def _compare(connection: Connection, scope: RunScope, address: Address, found: Iterable[ChangedInput]) -> _Changes:
    """Recomputes the users whose inputs differ; returns the user-months whose results differ from the stored rows."""
    changes, causes = _Changes(), {(each.user, each.month): each for each in found}
    users = sorted({user for user, _ in causes})
    # The number of rows of a user is not known here: assume one a day.
    work = WorkList(BatchLimits(scope.settings.batch_rows, scope.settings.batch_rows))
    for user in users:
        work.add(user, len(scope.window.days), 0)
    for batch in work:
        inputs = read_input(connection, Reader("copy", address), scope, batch)
        rows = apply_ledger(inputs.for_credits, scope.credit_rules)
        target = compute_months_target(scope, inputs, rows)
        columns = [name for name in inputs.months.columns if name not in PAID and not name.endswith("_hash")]
        figures = [name for name in columns if name in target.columns]
        both = target.select(figures).join(
            inputs.months.select(figures), on=USER_MONTH, how="full", coalesce=True, suffix="_stored"
        )
        values = [name for name in figures if name not in USER_MONTH]
        # Months of the first version have no _days columns: such a column cannot differ.
        same = pl.all_horizontal(
            pl.col(name).eq_missing(pl.col(f"{name}_stored")) for name in values if not name.endswith("_days")
        )
        changed = pl.concat(
            [both.filter(~same).select(USER_MONTH), _months_of_changed_days(scope, inputs, rows)]
        ).unique()
        cost = pl.col("total_cost").fill_null(0) - pl.col("total_cost_stored").fill_null(0)
        repriced = _repriced(scope, both, inputs)
        for month, user, more in both.join(changed, on=USER_MONTH).select(*USER_MONTH, cost).iter_rows():
            if (user, month) in causes:
                cause = _cause(causes[user, month], repriced=(user, month) in repriced)
                changes.causes.setdefault(month, Counter())[cause] += 1
                changes.more[month] += more
    return changes


def _months_of_changed_days(scope: RunScope, inputs: BatchInput, rows: pl.DataFrame) -> pl.DataFrame:
    """The user-months whose rows in user_daily differ from a recomputation.

    Months of the first version are left out: they have no rows in user_daily.
    """
    months = [month for month in scope.window.months if scope.month_records.fingerprints.get(month) is not None]
    columns = [name for name in inputs.days.columns if name != "credits_deducted"]
    month = pl.col("date").dt.month_start().alias("month")
    target = compute_days_target(scope, rows).select(columns).filter(month.is_in(months))
    stored = inputs.days.select(columns).filter(month.is_in(months))
    pairs = ((target, stored), (stored, target))
    return pl.concat(
        one.join(other, on=columns, how="anti", nulls_equal=True).select(month, "user_id") for one, other in pairs
    )


def _repriced(scope: RunScope, both: pl.DataFrame, inputs: BatchInput) -> set[tuple[str, date]]:
    """The user-months with usage, now or when computed, of a meter whose price has changed."""
    rates = {month: scope.rates_hash(month) for month in scope.window.months}
    now = pl.col("month").replace_strict(rates, return_dtype=pl.String)
    before = inputs.months.select(*USER_MONTH, rates_hash_stored="rates_hash")
    hashed = both.join(before, on=USER_MONTH, how="left")
    repriced = {month: scope.find_repriced_meters(month) for month in scope.window.months}
    which = is_repriced([meter.name for meter in scope.settings.meters], repriced)
    return set(hashed.with_columns(rates_hash=now).filter(which).select("user_id", "month").iter_rows())


def _cause(found: ChangedInput, *, repriced: bool) -> str:
    """The inputs that differ, joined by +; the price only if the user-month is ``repriced``."""
    return "+".join(word for word in CAUSES if getattr(found, word) and (word != "price" or repriced))


def _closed_month(
    scope: RunScope, month: date, found: ChangedInputs, changes: _Changes, missing: tuple[str, ...]
) -> ClosedMonth:
    causes, before = changes.causes.get(month, Counter()), scope.month_records.totals[month]
    return ClosedMonth(
        month,
        scope.month_records.rows[month],
        found.rows.get(month, 0),
        before,
        (before or Decimal(0)) + unscaled(changes.more[month]),
        causes.total(),
        dict(causes),
        causes.total() > 0,
        scope.currencies[month],
        missing,
    )
