"""What rows and user-months come to under a plan: ``compute``, put together in its one order."""

from dataclasses import replace

import polars as pl

from jobs.compute import hashes, overrides, rollup
from jobs.compute.costs import costs
from jobs.compute.exact import Bounds, whole
from jobs.compute.pricing import Terms, charges, in_row_order
from jobs.model.frames import NUMBERS, cost_of
from jobs.plan import Plan


def priced(usage: pl.LazyFrame, plan: Plan) -> pl.DataFrame:
    """Every row of ``usage`` (``frames.USAGE``) with charges, costs, target and hash; each user's rows in row order.

    Users with overrides are priced by themselves: a price of somebody's own takes numbers of 128 bits.
    """
    names = usage.collect_schema().names()
    ordered = _ordered(usage, plan).collect()
    if not plan.terms.overridden:
        return _priced(ordered, names, plan, plan.terms)
    theirs = pl.col("user_id").cast(pl.String).is_in(plan.overrides.frame["user_id"].unique().implode())
    listed = replace(plan.terms, overridden=frozenset())
    own = _overridden(ordered.filter(theirs).lazy(), plan).collect()
    return pl.concat([_priced(ordered.filter(~theirs), names, plan, listed), _priced(own, names, plan, plan.terms)])


def _priced(ordered: pl.DataFrame, names: list[str], plan: Plan, terms: Terms) -> pl.DataFrame:
    meters = [meter.name for meter in plan.meters]
    charged = charges(ordered.lazy(), terms, Bounds.of(ordered, meters)).collect()
    known = Bounds.of(charged, ["recorded", *map(cost_of, meters)])
    # In a rated month total_cost is ours: a hash of usage must not change because we wrote it.
    recorded = pl.when(~pl.col("month").is_in(sorted(plan.rules.rated))).then(pl.col("recorded"))
    made = ("month", "new_month", "new_day", "new_cluster")
    found = ("total_cost", "adjustment_cost", "unpriced", "target", "row_hash")
    return (
        costs(charged.lazy(), plan.meters, plan.rules, known)
        .with_columns(hashes.usage_hash(meters, recorded).alias("row_hash"))
        .select(*names, *made, *found, *map(cost_of, meters))
        .collect()
    )


def in_order(usage: pl.LazyFrame, plan: Plan) -> pl.LazyFrame:
    """``usage`` in row order, each row with the overrides of its user and day; of a row read twice the last."""
    return _overridden(_ordered(usage, plan), plan)


def _ordered(usage: pl.LazyFrame, plan: Plan) -> pl.LazyFrame:
    if len(plan.window.spans()) > 1:
        # Each span is a snapshot of its own: a row that moved between two of them was read twice.
        usage = usage.unique("id", keep="last", maintain_order=True)
    return in_row_order(usage)


def _overridden(ordered: pl.LazyFrame, plan: Plan) -> pl.LazyFrame:
    held = overrides.by_day(plan.overrides.frame.lazy(), plan.window.first, plan.window.last)
    return overrides.joined(ordered, held, plan.terms.overridden)


def user_months(rows: pl.DataFrame, accounts: pl.DataFrame, plan: Plan) -> pl.LazyFrame:
    """What rollup.user_monthly shall hold of these rows, besides ``rows`` and ``unpriced``, which it does not hold."""
    window = plan.window
    digests = [
        {"user_id": user, "month": month, "overrides_hash": digest}
        for month in window.months
        for user, digest in plan.overrides.digests(month, window.last_of(month)).items()
    ]
    rates = {month: plan.rates_hash(month) for month in window.months}
    schema = {"user_id": pl.String, "month": pl.Date, "overrides_hash": pl.String}
    decimals = plan.credit_rules.scale * 100 + plan.credit_rules.due_scale  # they decide about amounts, too
    return (
        with_left_out(rollup.by_user(rows.lazy(), plan.meters), plan)
        .with_columns(
            pl.lit(plan.settings.currency).alias("currency"),
            pl.col("month").replace_strict(rates, return_dtype=pl.String).alias("rates_hash"),
        )
        .join(pl.LazyFrame(digests, schema=schema), on=["user_id", "month"], how="left")
        .join(accounts.lazy(), on="user_id", how="left")
        .with_columns(credits_hash=hashes.account_hash(pl.col("pays_hash").cast(pl.UInt64) + decimals, NUMBERS))
        .drop("pays_hash", *NUMBERS)
    )


def with_left_out(target: pl.LazyFrame, plan: Plan) -> pl.LazyFrame:
    """Configured meters that this run leaves out cost nothing: what an earlier run wrote for them must go."""
    left_out = [meter for meter in plan.settings.meters if meter not in plan.meters]
    return target.with_columns(whole(0).alias(name) for meter in left_out for name in (meter.name, cost_of(meter.name)))


def takeable(plan: Plan) -> pl.Expr:
    """Whether a row can be priced."""
    values = [pl.col(meter.name) >= 0 for meter in plan.meters]
    return pl.all_horizontal(pl.col("user_id").is_not_null(), pl.col("recorded").fill_null(0) >= 0, *values)
