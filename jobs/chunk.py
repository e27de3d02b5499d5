"""One chunk: some users with all months of the run, computed and written in one transaction (DESIGN section 7)."""

from collections.abc import Mapping
from dataclasses import dataclass

import polars as pl

from jobs.compute import hashes, overrides, rollup
from jobs.compute.costs import costs
from jobs.compute.differences import difference
from jobs.compute.exact import whole
from jobs.compute.pricing import charges, in_row_order
from jobs.model.frames import cost_of, usage_schema
from jobs.plan import Plan
from jobs.store import costs as written_costs
from jobs.store import readers, tables
from jobs.store.database import Connection, transaction
from jobs.store.guard import pass_fence


@dataclass(frozen=True, slots=True)
class Done:
    """What a chunk leaves for the end of the run: its users' months, its parts of the cluster tables, rows changed."""

    users: pl.DataFrame
    days: pl.DataFrame
    actives: pl.DataFrame
    changed: Mapping[str, int]


def priced(usage: pl.LazyFrame, plan: Plan) -> pl.DataFrame:
    """Every row of ``usage`` (``frames.USAGE``) with charges, costs, target and hash."""
    schema = usage.collect_schema()
    charged = charges(in_order(usage, plan), plan.terms)
    names = [meter.name for meter in plan.meters]
    # In a rated month total_cost is ours: a hash of usage must not change because we wrote it.
    recorded = pl.when(~pl.col("month").is_in(sorted(plan.rules.rated))).then(pl.col("recorded"))
    return (
        costs(charged, plan.meters, plan.rules)
        .with_columns(hashes.usage_hash(names, recorded).alias("row_hash"))
        .select(
            *schema.names(),
            *("month", "new_day", "new_cluster", "total_cost", "adjustment_cost", "unpriced", "target", "row_hash"),
            *map(cost_of, names),
        )
        .collect()
    )


def in_order(usage: pl.LazyFrame, plan: Plan) -> pl.LazyFrame:
    """``usage`` in row order, each row with the overrides of its user and day; of a row read twice the last."""
    if len(plan.window.spans()) > 1:
        # Each span is a snapshot of its own: a row that moved between two of them was read twice.
        usage = usage.unique("id", keep="last", maintain_order=True)
    ordered = in_row_order(usage)
    held = overrides.by_day(plan.overrides.frame.lazy(), plan.window.first, plan.window.last)
    return overrides.joined(ordered, held, plan.terms.overridden)


def user_months(rows: pl.DataFrame, plan: Plan) -> pl.LazyFrame:
    """What rollup.user_monthly shall hold of these rows, besides ``rows`` and ``unpriced``, which it does not hold."""
    window = plan.window
    digests = [
        {"user_id": user, "month": month, "overrides_hash": digest}
        for month in window.months
        for user, digest in plan.overrides.digests(month, window.last_of(month)).items()
    ]
    rates = {month: plan.rates_hash(month) for month in window.months}
    schema = {"user_id": pl.String, "month": pl.Date, "overrides_hash": pl.String}
    return (
        with_left_out(rollup.by_user(rows.lazy(), plan.meters), plan)
        .with_columns(
            pl.lit(plan.settings.currency).alias("currency"),
            pl.col("month").replace_strict(rates, return_dtype=pl.String).alias("rates_hash"),
        )
        .join(pl.LazyFrame(digests, schema=schema), on=["user_id", "month"], how="left")
    )


def with_left_out(target: pl.LazyFrame, plan: Plan) -> pl.LazyFrame:
    """Configured meters that this run leaves out cost nothing: what an earlier run wrote for them must go."""
    left_out = [meter for meter in plan.settings.meters if meter not in plan.meters]
    return target.with_columns(whole(0).alias(name) for meter in left_out for name in (meter.name, cost_of(meter.name)))


def run_chunk(
    connection: Connection,
    plan: Plan,
    run_id: int | None,
    usage: pl.LazyFrame | None,
    standing: pl.LazyFrame | None,
) -> Done:
    """Computes a chunk and writes its differences; without a run (a dry run) it only counts them."""
    if usage is None:
        usage = pl.LazyFrame(schema=usage_schema([meter.name for meter in plan.meters]))
    rows = priced(usage, plan)
    if run_id is None:
        return _finished(connection, plan, None, rows, standing, to_write(rows).height)
    with transaction(connection):
        pass_fence(connection, plan.settings, run_id)
        rows, written = settled(connection, plan, rows)
        return _finished(connection, plan, run_id, rows, standing, written)


def _finished(
    connection: Connection,
    plan: Plan,
    run_id: int | None,
    rows: pl.DataFrame,
    standing: pl.LazyFrame | None,
    written: int,
) -> Done:
    users, days, actives = pl.collect_all(
        [user_months(rows, plan), rollup.cluster_days(rows.lazy(), plan.meters), rollup.cluster_users(rows.lazy())]
    )
    target = users.drop("rows", "unpriced")
    changed = replace(connection, plan, run_id, "user_monthly", target, standing)
    return Done(users, days, actives, {"user_monthly": changed, "usage_daily": written})


def replace(
    connection: Connection,
    plan: Plan,
    run_id: int | None,
    name: str,
    target: pl.DataFrame,
    standing: pl.LazyFrame | None,
) -> int:
    """Makes a table hold ``target`` where ``standing`` says what it holds now; the rows written or to be written."""
    of = tables.table(plan.settings, name)
    found = difference(target.lazy(), standing if standing is not None else target.clear().lazy(), of.key)
    put, gone = pl.collect_all([found.put, found.gone])
    if run_id is None:
        return put.height + gone.height
    removed = tables.remove(connection, plan.settings, of, gone)
    return removed + tables.put(connection, plan.settings, of, put, run_id)


def to_write(rows: pl.DataFrame) -> pl.DataFrame:
    """The rows whose total_cost is ours to write and differs."""
    recorded = pl.col("recorded").cast(pl.Int128)
    return rows.filter(pl.col("target").is_not_null() & recorded.ne_missing(pl.col("target")))


def settled(connection: Connection, plan: Plan, rows: pl.DataFrame) -> tuple[pl.DataFrame, int]:
    """Writes total_cost; users of a row that changed since it was read are read anew and computed under locks."""
    written, todo = 0, to_write(rows)
    while True:
        done = written_costs.write(connection, plan.settings, todo)
        written += len(done)
        # Not is_in(done): a UInt128 list has no is_in; the frame is as large as what changed, not as the chunk.
        missed = todo if not done else todo.join(_ids(done), on="id", how="anti")
        if missed.is_empty():
            return rows, written
        users = missed["user_id"].cast(pl.String).unique().to_list()
        written_costs.lock(connection, plan.settings, users, plan.window.first, plan.window.last)
        query = plan.query.of_users(users, plan.window.spans())
        again = accepted(readers.latest(connection, query, plan.query), plan)
        fresh = priced(again.lazy(), plan)
        rows = pl.concat([rows.filter(~pl.col("user_id").cast(pl.String).is_in(users)), fresh])
        todo = to_write(fresh)


def _ids(ids: set[int]) -> pl.DataFrame:
    return pl.DataFrame({"id": sorted(ids)}, schema={"id": pl.UInt128})


def accepted(frame: pl.DataFrame, plan: Plan) -> pl.DataFrame:
    """The rows that can be priced: a user, and no value that the query marked with -1."""
    return frame.filter(takeable(plan))


def takeable(plan: Plan) -> pl.Expr:
    """Whether a row can be priced."""
    values = [pl.col(meter.name) >= 0 for meter in plan.meters]
    return pl.all_horizontal(pl.col("user_id").is_not_null(), pl.col("recorded").fill_null(0) >= 0, *values)
