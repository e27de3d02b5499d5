"""Target rows of user_daily and user_monthly: sums of rated rows, hashes of what they are computed from, and the causes
of change that follow from the hashes.
"""

from collections.abc import Callable, Sequence
from datetime import date

import polars as pl

from jobs.credits.debts import sum_open_debts
from jobs.domain.fixed_point_columns import int128
from jobs.domain.meters import cost_of, days_of
from jobs.domain.schemas import EARLY, IS_DRAWN, PREPAID
from jobs.domain.tables import USER_MONTH
from jobs.pipeline.batch_changes import BatchTargets
from jobs.pipeline.batch_input import BatchInput, of_users
from jobs.pipeline.table_diff import TableDiff
from jobs.postgres import accounts
from jobs.postgres.connections import Connection
from jobs.postgres.run_scope import RunScope
from jobs.rollups.causes import find_causes
from jobs.rollups.sums import sum_user_days, sum_user_months


def compute_days_target(scope: RunScope, rows: pl.DataFrame) -> pl.DataFrame:
    """Returns the target rows of user_daily; ``rows``: rated, with their draws."""
    return _add_left_out_meters(sum_user_days(rows.lazy(), scope.meters), scope, monthly=False).collect()


def compute_months_target(scope: RunScope, inputs: BatchInput, rows: pl.DataFrame) -> pl.DataFrame:
    """Returns the target rows of user_monthly with ``lacks_recorded``, without hashes of credits, overrides and prices.

    A user all of whose rows are rejected has a row of zeros, which says that these rows were processed.
    """
    sums = _add_left_out_meters(sum_user_months(rows.lazy(), scope.meters), scope, monthly=True)
    schema = sums.collect_schema()
    # Of users all of whose rows are rejected.
    zeros = [
        pl.col(name).fill_null(int128(0) if kind == pl.Int128 else pl.lit(0, dtype=kind))
        for name, kind in schema.items()
        if kind.is_integer()
    ]
    return (
        inputs.fingerprints.lazy()
        .join(sums, on=["user_id", "month"], how="left")
        .with_columns(
            *zeros,
            pl.col("clusters").fill_null("{}"),
            currency=pl.col("month").replace_strict(scope.currencies, return_dtype=pl.String),
        )
        .collect()
    )


def _add_left_out_meters(target: pl.LazyFrame, scope: RunScope, *, monthly: bool) -> pl.LazyFrame:
    """Adds 0 for each optional meter that this run does not price, so that what an earlier run wrote is replaced.

    ``monthly``: whether the table has the column ``<meter>_days`` too.
    """
    names: Sequence[str] = [
        name
        for meter in scope.settings.meters
        if meter not in scope.meters
        for name in (
            meter.name,
            cost_of(meter.name),
            *([days_of(meter.name)] if monthly and meter.is_level else []),
        )
    ]
    return target.with_columns(int128(0).alias(name) for name in names)


def add_hashes(connection: Connection, targets: BatchTargets, hash_changes: pl.DataFrame) -> pl.DataFrame:
    """Returns the target rows of user_monthly with all their hashes.

    ``hash_changes``: how written_hash changes when the rows are written (XOR).
    """
    scope, inputs = targets.scope, targets.inputs
    credit_hashes = accounts.compute_credit_hashes(
        connection, scope, inputs.users, inputs.billing_modes, targets.postings
    )
    override_hashes = _override_hashes(scope, scope.window.last_of)
    rates = {month: scope.rates_hash(month) for month in scope.window.months}
    # An account that is usable now, and was not there when the batch read accounts, was opened in between.
    is_opened = pl.col("is_usable") & ~of_users(targets.accounts["user_id"])
    account = pl.when(~is_opened).then(pl.col("account_hash").cast(pl.String)).fill_null("-")
    credits_hash = [
        pl.col("modes_hash").fill_null(0).cast(pl.String),
        # Empty where the account decides nothing: then a change of the account makes no difference.
        pl.when("_is_paying").then(account).otherwise(pl.lit("")),
        pl.lit(scope.credit_terms),
        pl.col("open_debts"),
    ]
    return (
        targets.months.lazy()
        .join(credit_hashes.lazy(), on=USER_MONTH, how="left")
        .join(hash_changes.lazy(), on=USER_MONTH, how="left")
        .join(override_hashes.lazy(), on=USER_MONTH, how="left")
        .join(sum_open_debts(targets.debts), on="user_id", how="left")
        .join(_account_months(targets).with_columns(_is_paying=True), on=USER_MONTH, how="left")
        .with_columns(
            written_hash=pl.col("written_hash").xor(pl.col("_hash_change").fill_null(0)),
            rates_hash=pl.col("month").replace_strict(rates, return_dtype=pl.String),
            credits_hash=pl.concat_str(credits_hash, separator=".", ignore_nulls=True),
        )
        .drop("rows", "_hash_change", "modes_hash", "account_hash", "is_usable", "_is_paying", "open_debts")
        .collect()
    )


def find_month_causes(
    connection: Connection, targets: BatchTargets, monthly: TableDiff, run_id: int | None
) -> pl.DataFrame:
    """Returns why the user-months of ``monthly`` change (rollups.causes.find_causes)."""
    scope, keys = targets.scope, monthly.keys.select(USER_MONTH)
    before = accounts.compute_accounts_before(connection, scope, keys, run_id)
    changed = (
        keys.lazy()
        .join(monthly.upserts.lazy(), on=USER_MONTH, how="left")
        .join(monthly.stored.lazy(), on=USER_MONTH, how="left", suffix="_stored")
        .join(before.lazy(), on=USER_MONTH, how="left")
    )
    # A month that version 1 has stored gets hashes and columns that it did not have. That alone is no change.
    is_of_version_1 = pl.col("row_count").is_null()
    of_version_1 = monthly.stored.lazy().filter(is_of_version_1).select(*USER_MONTH, of_version_1=pl.lit(value=True))
    has_same_amounts = (pl.col("old_total") == pl.col("new_total")) & (
        pl.col("old_credits_deducted") == pl.col("new_credits_deducted")
    )
    meters = [meter.name for meter in scope.settings.meters]
    repriced = {month: scope.find_repriced_meters(month) for month in scope.window.months}
    causes = find_causes(_limit_to_covered(targets, changed), meters, repriced).join(
        of_version_1, on=USER_MONTH, how="left"
    )
    is_change = ~(has_same_amounts & pl.col("of_version_1").fill_null(value=False))
    return causes.filter(is_change).drop("of_version_1").sort(USER_MONTH).collect()


def _limit_to_covered(targets: BatchTargets, changed: pl.LazyFrame) -> pl.LazyFrame:
    """Returns ``changed`` with hashes of the covered days only.

    Usage, prices and overrides of new days are no cause of what changes on covered days.
    """
    scope, inputs = targets.scope, targets.inputs
    if scope.new_days is None:
        return changed
    rates = {month: scope.rates_hash(month, scope.last_covered(month)) for month in scope.window.months}
    rows = pl.concat(
        rows.lazy().select(pl.col("user_id").cast(pl.String), "date", "usage_hash")
        for rows in (inputs.rows, inputs.rejected)
    ).filter(pl.col("date") > scope.covered_to)
    new = rows.group_by("user_id", pl.col("date").dt.month_start().alias("month")).agg(
        pl.col("usage_hash").bitwise_xor().alias("new_usage")
    )
    return (
        changed.drop("overrides_hash")
        .join(_override_hashes(scope, scope.last_covered).lazy(), on=USER_MONTH, how="left")
        .join(new, on=USER_MONTH, how="left")
        .with_columns(
            rates_hash=pl.col("month").replace_strict(rates, return_dtype=pl.String),
            usage_hash=pl.col("usage_hash").xor(pl.col("new_usage").fill_null(0)),
        )
    )


def _override_hashes(scope: RunScope, last_day_of: Callable[[date], date]) -> pl.DataFrame:
    """Returns a hash of the price overrides by user and month; ``last``: returns the last day of a month to hash."""
    rows = [
        {"user_id": user, "month": month, "overrides_hash": digest}
        for month in scope.window.months
        for user, digest in scope.overrides.digests(month, last_day_of(month)).items()
    ]
    return pl.DataFrame(rows, schema={"user_id": pl.String, "month": pl.Date, "overrides_hash": pl.String})


def _account_months(targets: BatchTargets) -> pl.LazyFrame:
    """Returns the user-months whose account matters: those with prepaid rows, or with draws that are not reversed."""
    is_prepaid = pl.col("class").is_in([PREPAID, EARLY])
    prepaid = targets.rows.lazy().filter(is_prepaid).select("month", pl.col("user_id").cast(pl.String)).unique()
    draws = targets.inputs.draws.lazy().with_columns(pl.col("date").dt.month_start().alias("month"))
    # Postings of debts are left out: they belong to closed months.
    postings = targets.postings.lazy().filter(pl.col("month").is_in(targets.scope.window.months))
    columns = [*USER_MONTH, "id", "free", "purchased"]
    sums = (
        pl.concat([draws.select(columns), postings.select(columns)])
        .join(prepaid, on=USER_MONTH, how="anti")
        .group_by(*USER_MONTH, "id")
        .agg(pl.col("free", "purchased").sum())
    )
    with_draws = sums.filter(IS_DRAWN).select(USER_MONTH).unique()
    # A month may have draws and no rows. It has no row in user_monthly, so the account is hashed into the user's other
    # months: when it becomes usable again, these differ, and the draws are reversed.
    user_months = targets.months.lazy().select(USER_MONTH)
    without_rows = with_draws.join(user_months, on=USER_MONTH, how="anti")
    others = user_months.join(without_rows, on="user_id", how="semi")
    return pl.concat([prepaid, with_draws, others]).unique()
