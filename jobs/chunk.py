"""One chunk: some users with all months of the run, computed and written in one transaction (DESIGN section 7)."""

import dataclasses
from collections.abc import Callable, Mapping, Set
from dataclasses import dataclass, field

import polars as pl

from jobs.compute import changes, rollup
from jobs.compute.causes import UNCHANGED
from jobs.drawing import DisturbedError, Drawn, Known, drawn
from jobs.figures import priced, takeable, user_months
from jobs.model.frames import CODED, MODES, usage_schema
from jobs.plan import Plan
from jobs.replacing import Replaced, replace, replace_users
from jobs.store import ledger, readers, tables
from jobs.store import rows as usage_rows
from jobs.store.database import Connection, transaction
from jobs.store.guard import pass_fence
from jobs.telling import told_postings, told_usage

TO_WRITE = ["id", "user_id", "version", "recorded", "deducted", "target", "free", "purchased"]
"""What decides whether a row is written, and what is told of it."""


@dataclass(frozen=True, slots=True)
class Taken:
    """What was read of a chunk's users at the start: usage, their roll-up, how they pay (None: nothing), and their
    draws (None: the ledger was not read).

    ``first``: the ledger was empty, so that whatever is drawn is a row's first draw; ``bad``: ids of rows, of whoever,
    that cannot be priced; ``again``: this run has tried the chunk before, and may have committed it.
    """

    usage: pl.LazyFrame | None
    standing: pl.LazyFrame | None
    modes: pl.LazyFrame | None
    booked: pl.LazyFrame | None
    first: bool = False
    bad: Set[int] = frozenset()
    again: bool = False


@dataclass(frozen=True, slots=True)
class Anew:
    """What was read a second time, under locks: row ids that can be priced, and those that cannot."""

    taken: frozenset[int] = frozenset()
    refused: frozenset[int] = frozenset()


@dataclass(frozen=True, slots=True)
class Done:
    """What a chunk leaves for the end of the run: its users' months, its parts of the cluster tables, rows changed;
    ``postings``: what it booked; ``foreign``: ids of rows whose credits_deducted somebody else wrote; ``anew``: what it
    read again; ``arrived``: of that, rows that were read as another chunk's or not at all; of a backfill also ``told``
    (changes.CHANGES) and ``causes`` (compute.causes)."""

    users: pl.DataFrame
    days: pl.DataFrame
    actives: pl.DataFrame
    changed: Mapping[str, int]
    postings: pl.DataFrame
    foreign: pl.Series = field(default_factory=lambda: pl.Series(dtype=pl.UInt128))
    anew: Anew = Anew()
    arrived: frozenset[int] = frozenset()
    told: pl.DataFrame = field(default_factory=lambda: changes.NONE)
    causes: pl.DataFrame = field(default_factory=lambda: UNCHANGED)


def run_chunk(
    connection: Connection,
    plan: Plan,
    run_id: int | None,
    taken: Taken,
    anew: frozenset[str] = frozenset(),
    tell: Callable[[pl.DataFrame, pl.DataFrame], None] = lambda *_: None,
) -> Done:
    """Computes a chunk and writes its differences; without a run (a dry run) it only counts them.

    ``anew``: users to be locked and read again first; ``tell`` hears of a backfill what is about to be committed
    (changes.CHANGES) and why user-months change (compute.causes), and may raise. Raises DisturbedError, with nothing
    written, where a row to be written is no longer what was read.
    """
    usage = taken.usage
    if usage is None:
        usage = pl.LazyFrame(schema=usage_schema([meter.name for meter in plan.meters])).with_columns(CODED)
    with transaction(connection):
        reread, arrived = Anew(), frozenset[int]()
        if run_id is not None:
            pass_fence(connection, plan.settings, run_id)
        if taken.again:
            taken = _as_it_stands(connection, plan, taken, anew)
        if anew:
            usage, reread, arrived = renewed(connection, plan, usage, anew)
        modes = pl.LazyFrame(schema=MODES) if taken.modes is None else taken.modes
        known = Known(modes, taken.standing, taken.booked, taken.first and not anew, anew)
        found = drawn(connection, plan, run_id, priced(usage, plan), known)
        written = _written(connection, plan, run_id, found, taken.bad | reread.refused)
        done = _finished(connection, plan, run_id, found, taken.standing, written)
        tell(done.told, done.causes)
        return dataclasses.replace(done, foreign=found.strange.filter("foreign")["id"], anew=reread, arrived=arrived)


def renewed(
    connection: Connection, plan: Plan, usage: pl.LazyFrame, users: frozenset[str]
) -> tuple[pl.LazyFrame, Anew, frozenset[int]]:
    """``usage`` with the rows of ``users`` as they are now, locked until we commit; a row that moved counts once."""
    usage_rows.lock(connection, plan.settings, sorted(users), plan.window.first, plan.window.last)
    now = readers.latest(connection, plan.query.of_users(users, plan.window.spans()), plan.query)
    good = now.filter(takeable(plan))
    taken, refused = frozenset(good["id"]), frozenset(now["id"]) - frozenset(good["id"])
    arrived = taken - frozenset(usage.select("id").join(good.lazy(), on="id", how="semi").collect()["id"])
    others = usage.filter(~pl.col("user_id").cast(pl.String).is_in(sorted(users)))
    kept = others.join(now.lazy(), on="id", how="anti")
    return pl.concat([kept, good.lazy().with_columns(CODED)]), Anew(taken, refused), arrived


def _as_it_stands(connection: Connection, plan: Plan, taken: Taken, more: Set[str]) -> Taken:
    """Our own tables as they are now: an earlier try may have written them, and what it wrote must not count twice."""
    known = (taken.usage, taken.standing, taken.booked)
    frames = [frame.select(pl.col("user_id").cast(pl.String)) for frame in known if frame is not None]
    users = sorted({*more, *(pl.concat(frames).unique().collect()["user_id"] if frames else ())})
    of, months = tables.table(plan.settings, "user_monthly"), plan.window.months
    standing = pl.concat(tables.standing(connection, plan.settings, of, months, users))
    booked = taken.booked
    if booked is not None:
        booked = pl.concat(ledger.draws(connection, plan.settings, months, users)).lazy()
    return dataclasses.replace(taken, standing=standing.lazy(), booked=booked)


def _written(connection: Connection, plan: Plan, run_id: int | None, found: Drawn, bad: Set[int]) -> Replaced:
    """Writes usage_daily where it is ours and differs."""
    todo = to_write(plan, found)
    if run_id is not None:
        _write(connection, plan, todo)
    mended: list[ledger.Mended] = []
    if plan.query.read.credits.shown:
        booked, spans = run_id is not None, plan.window.spans()
        posted = found.postings
        vanished = posted if posted.is_empty() else posted.join(found.rows, on="id", how="anti")
        if vanished.height:
            mended = ledger.mend(connection, plan.settings, vanished, bad, spans, booked=booked)
    told = told_usage(todo, mended) if plan.told else changes.NONE
    return Replaced({"usage_daily": todo.height + len(mended)}, told)


def _write(connection: Connection, plan: Plan, todo: pl.DataFrame) -> None:
    done = usage_rows.write(connection, plan.settings, todo)
    if len(done) < todo.height:
        # Not is_in(done): a UInt128 list has no is_in.
        missed = todo.join(done.to_frame("id"), on="id", how="anti")
        now = usage_rows.owners(connection, plan.settings, missed["id"].to_list())
        raise DisturbedError(frozenset(missed["user_id"].cast(pl.String)) | now)


def to_write(plan: Plan, found: Drawn) -> pl.DataFrame:
    """The rows of usage_daily to write: see ``store.rows.write``."""
    # Joins copy every column that they carry along.
    rows, recorded = found.rows.select(TO_WRITE), pl.col("recorded").cast(pl.Int128)
    costs = pl.col("target").is_not_null() & recorded.ne_missing(pl.col("target"))
    if not plan.query.read.credits.shown:
        nothing = pl.lit(None, pl.Int128)
        return rows.filter(costs).with_columns(drawn=pl.lit(value=False), shall=nothing, shown=nothing)
    # What is booked now counts even where the column shows that amount already, from draws in a closed month.
    booked = found.postings.select("id", CODED, "first", posted=pl.col("free") + pl.col("purchased"))
    sums = booked.group_by("id", "user_id").agg(pl.col("posted").sum(), pl.col("first").all())
    known, read = found.strange.select("id", known="drawn"), pl.col("deducted").cast(pl.Int128)
    posted = pl.col("posted").fill_null(0) != 0
    shows = read.eq_missing(pl.coalesce("known", pl.col("free") + pl.col("purchased")))
    marked = _beside(_beside(rows.lazy(), sums, ["id", "user_id"]), known, ["id"])
    # The column shows what all months say: known where that is not what was read, and what is posted now.
    shall = pl.coalesce("known", read) + pl.col("posted").fill_null(0)
    sole = pl.col("first").fill_null(value=False) & found.sole
    return (
        marked.with_columns(drawn=posted | ~shows, shall=shall, shown=pl.when(sole).then("posted"))
        .filter(costs | pl.col("drawn"))
        .collect()
    )


def _beside(rows: pl.LazyFrame, more: pl.DataFrame, keys: list[str]) -> pl.LazyFrame:
    """``rows`` with what ``more`` says of some of them; usually it says nothing, and a join would copy every column."""
    if more.is_empty():
        return rows.with_columns(
            pl.lit(None, more[name].dtype).alias(name) for name in more.columns if name not in keys
        )
    return rows.join(more.lazy(), on=keys, how="left", maintain_order="left")


def _finished(
    connection: Connection,
    plan: Plan,
    run_id: int | None,
    found: Drawn,
    standing: pl.LazyFrame | None,
    written: Replaced,
) -> Done:
    rows, known = found.rows.lazy(), found.months
    days, actives = pl.collect_all([rollup.cluster_days(rows, plan.meters), rollup.cluster_users(rows)])
    # Of nobody there is nothing to be summed up; planning it would take as long as all the sums.
    if known is not None and found.rest.is_empty():
        users = known.clear()
    else:
        users = user_months(found.rest, found.accounts, plan).collect()
    target = users.drop("rows", "unpriced")
    if known is not None:
        users = pl.concat([users, known])
        standing = None if standing is None else standing.join(known.lazy(), on="user_id", how="anti")
    if plan.told:
        changed = replace_users(connection, plan, run_id, target, standing, found.before)
        told = pl.concat([told_postings(plan, found), written.told, changed.told])
    else:
        changed, told = replace(connection, plan, run_id, "user_monthly", target, standing), changes.NONE
    every = {**found.changed, **changed.rows, **written.rows}
    return Done(users, days, actives, every, found.postings, told=told, causes=changed.causes)
