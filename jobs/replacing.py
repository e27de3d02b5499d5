"""A roll-up table is made to hold what it should; what that changes in closed months is told in rollup.corrections."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import polars as pl

from jobs.compute import changes
from jobs.compute.causes import KEY, UNCHANGED, as_it_stood, causes
from jobs.compute.differences import difference
from jobs.plan import Plan
from jobs.store import corrections, tables
from jobs.store.database import Connection
from jobs.store.schema import Table


@dataclass(frozen=True, slots=True)
class Delta:
    """Whole rows to be put in, and keys of rows that go."""

    put: pl.DataFrame
    gone: pl.DataFrame

    @classmethod
    def of(cls, target: pl.DataFrame, held: pl.LazyFrame, table: Table) -> "Delta":
        found = difference(target.lazy(), held, table.key)
        return cls(*pl.collect_all([found.put, found.gone]))


@dataclass(frozen=True, slots=True)
class Replaced:
    """``rows`` written (or to be written) per table; of a backfill also which (changes.CHANGES), and why user-months
    change (compute.causes)."""

    rows: Mapping[str, int]
    told: pl.DataFrame = field(default_factory=lambda: changes.NONE)
    causes: pl.DataFrame = field(default_factory=lambda: UNCHANGED)


def replace(
    connection: Connection,
    plan: Plan,
    run_id: int | None,
    name: str,
    target: pl.DataFrame,
    standing: pl.LazyFrame | None,
) -> Replaced:
    """Makes a table hold ``target`` where ``standing`` says what it holds now; without a run it only tells."""
    of = tables.table(plan.settings, name)
    held = standing if standing is not None else target.clear().lazy()
    delta = Delta.of(target, held, of)
    told = changes.replaced(name, delta.put, delta.gone, held, of.key) if plan.told else changes.NONE
    return Replaced({name: _written(connection, plan, run_id, of, delta)}, told)


def replace_users(
    connection: Connection,
    plan: Plan,
    run_id: int | None,
    target: pl.DataFrame,
    standing: pl.LazyFrame | None,
    accounts: pl.DataFrame,
) -> Replaced:
    """``replace`` of user_monthly in a backfill: a change of a closed month is kept in rollup.corrections.

    In: ``accounts`` as they were before this run posted anything.
    """
    closed = sorted(plan.window.closed)
    held = standing if standing is not None else target.clear().lazy()
    if closed:
        target = as_it_stood(target.lazy(), held, closed).collect()
    of = tables.table(plan.settings, "user_monthly")
    delta = Delta.of(target, held, of)
    # Before anything is written: what each user-month was computed from is asked of its standing row.
    why = _causes(connection, plan, run_id, delta, held, accounts)
    corrected = why.filter(pl.col("month").is_in(closed)).drop("old_credits", "new_credits")
    told = changes.told(
        "corrections",
        corrected.lazy(),
        KEY,
        old=changes.text_of(["old_total"]),
        new=changes.text_of(["new_total", "cause"]),
        owner="user_id",
    )
    rows = {"user_monthly": _written(connection, plan, run_id, of, delta), "corrections": corrected.height}
    if run_id is not None:
        corrections.append(connection, plan.settings, corrected, plan.reason, run_id)
    return Replaced(rows, pl.concat([changes.replaced(of.name, delta.put, delta.gone, held, of.key), told]), why)


def _written(connection: Connection, plan: Plan, run_id: int | None, of: Table, delta: Delta) -> int:
    if run_id is None:
        return delta.put.height + delta.gone.height
    removed = tables.remove(connection, plan.settings, of, delta.gone)
    return removed + tables.put(connection, plan.settings, of, delta.put, run_id, plan.window.closed)


def _causes(
    connection: Connection,
    plan: Plan,
    run_id: int | None,
    delta: Delta,
    held: pl.LazyFrame,
    accounts: pl.DataFrame,
) -> pl.DataFrame:
    keys = pl.concat([delta.put.select(KEY), delta.gone.select(KEY)])
    since = corrections.drawn_since(connection, plan.settings, keys, run_id)
    free, bought = pl.col("since_free").fill_null(0), pl.col("since_purchased").fill_null(0)
    splits = plan.query.read.credits.splits
    changed = (
        keys.lazy()
        .join(delta.put.lazy(), on=KEY, how="left")
        .join(held, on=KEY, how="left", suffix="_held")
        .join(accounts.lazy(), on="user_id", how="left")
        .join(since.lazy(), on=KEY, how="left")
        .with_columns(
            free_used=pl.col("free_used") - free if splits else pl.col("free_used"),
            used=pl.col("used") - bought - (0 if splits else free),
        )
    )
    return causes(changed).sort(KEY).collect()
