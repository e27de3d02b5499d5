"""One chunk: some users with all months of the run, computed and written in one transaction (DESIGN section 7)."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass

import polars as pl

from jobs.compute import rollup
from jobs.compute.differences import difference
from jobs.figures import priced, takeable, user_months
from jobs.model.frames import usage_schema
from jobs.plan import Plan
from jobs.store import costs as written_costs
from jobs.store import readers, tables
from jobs.store.database import Connection, transaction
from jobs.store.guard import pass_fence


@dataclass(frozen=True, slots=True)
class Anew:
    """What was read a second time, under locks: row ids that can be priced, and those that cannot."""

    taken: frozenset[int] = frozenset()
    refused: frozenset[int] = frozenset()


@dataclass(frozen=True, slots=True)
class Done:
    """What a chunk leaves for the end of the run: its users' months, its parts of the cluster tables, rows changed;
    ``anew``: what it read again; ``arrived``: of that, rows that were read as another chunk's or not at all."""

    users: pl.DataFrame
    days: pl.DataFrame
    actives: pl.DataFrame
    changed: Mapping[str, int]
    anew: Anew = Anew()
    arrived: frozenset[int] = frozenset()


class DisturbedError(Exception):
    """Rows to be written changed since they were read: the chunk is rolled back, and these users are read anew."""

    def __init__(self, users: frozenset[str]) -> None:
        super().__init__(f"{len(users)} users changed since they were read")
        self.users = users


def run_chunk(
    connection: Connection,
    plan: Plan,
    run_id: int | None,
    usage: pl.LazyFrame | None,
    standing: pl.LazyFrame | None,
    anew: frozenset[str] = frozenset(),
) -> Done:
    """Computes a chunk and writes its differences; without a run (a dry run) it only counts them.

    ``anew``: users to be locked and read again first. Raises DisturbedError, with nothing written, where a row to be
    written is no longer what was read.
    """
    if usage is None:
        usage = pl.LazyFrame(schema=usage_schema([meter.name for meter in plan.meters]))
    if run_id is None:
        rows = priced(usage, plan)
        return _finished(connection, plan, None, rows, standing, to_write(rows).height)
    with transaction(connection):
        pass_fence(connection, plan.settings, run_id)
        again, arrived = Anew(), frozenset[int]()
        if anew:
            usage, again, arrived = renewed(connection, plan, usage, anew)
            standing = _standing_anew(connection, plan, standing, anew)
        rows = priced(usage, plan)
        written = _written(connection, plan, rows)
        done = _finished(connection, plan, run_id, rows, standing, written)
        return dataclasses.replace(done, anew=again, arrived=arrived)


def renewed(
    connection: Connection, plan: Plan, usage: pl.LazyFrame, users: frozenset[str]
) -> tuple[pl.LazyFrame, Anew, frozenset[int]]:
    """``usage`` with the rows of ``users`` as they are now, locked until we commit; a row that moved counts once."""
    written_costs.lock(connection, plan.settings, sorted(users), plan.window.first, plan.window.last)
    now = readers.latest(connection, plan.query.of_users(users, plan.window.spans()), plan.query)
    good = now.filter(takeable(plan))
    taken, refused = frozenset(good["id"]), frozenset(now["id"]) - frozenset(good["id"])
    arrived = taken - frozenset(usage.select("id").join(good.lazy(), on="id", how="semi").collect()["id"])
    kept = usage.filter(~pl.col("user_id").is_in(sorted(users))).join(now.lazy(), on="id", how="anti")
    return pl.concat([kept, good.lazy()]), Anew(taken, refused), arrived


def _standing_anew(
    connection: Connection, plan: Plan, standing: pl.LazyFrame | None, users: frozenset[str]
) -> pl.LazyFrame:
    """What stands, for ``users`` as of now: an earlier try of this run may have written it."""
    of = tables.table(plan.settings, "user_monthly")
    now = pl.concat(tables.standing(connection, plan.settings, of, plan.window.months, users)).lazy()
    if standing is None:
        return now
    return pl.concat([standing.filter(~pl.col("user_id").is_in(sorted(users))), now])


def _written(connection: Connection, plan: Plan, rows: pl.DataFrame) -> int:
    """Writes total_cost where it is ours and differs; how many rows."""
    todo = to_write(rows)
    done = written_costs.write(connection, plan.settings, todo)
    if len(done) < todo.height:
        # Not is_in(done): a UInt128 list has no is_in.
        ids = pl.DataFrame({"id": sorted(done)}, schema={"id": pl.UInt128})
        missed = todo.join(ids, on="id", how="anti")
        now = written_costs.owners(connection, plan.settings, missed["id"].to_list())
        raise DisturbedError(frozenset(missed["user_id"].cast(pl.String)) | now)
    return len(done)


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
