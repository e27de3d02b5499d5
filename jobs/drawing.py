"""The credits of a chunk: draws computed, then decided under the locks of the accounts, and booked (DESIGN section 7).

What was read before a lock may be out of date, so it only tells *who* needs posting. Those users' accounts are then
locked, and accounts and ledger are read again: what is booked is the difference to that, and to nothing older. So
a purchase made meanwhile counts, and a chunk whose COMMIT was not answered books nothing twice.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import polars as pl

from jobs.compute import credits
from jobs.compute.exact import Bounds
from jobs.model.frames import DRAWS, MODES
from jobs.plan import Plan
from jobs.store import accounts, ledger
from jobs.store.database import Connection


@dataclass(frozen=True, slots=True)
class Drawn:
    """``rows`` with how each is paid; accounts as they were ``before`` and are after posting; ``postings``: what was
    booked, or in a dry run would be; ``changed``: rows written per table; ``strange``: see ``strange_rows``."""

    rows: pl.DataFrame
    before: pl.DataFrame
    accounts: pl.DataFrame
    postings: pl.DataFrame
    changed: Mapping[str, int]
    strange: pl.DataFrame


STRANGE: dict[str, pl.DataType | type[pl.DataType]] = {
    "id": pl.UInt128,
    "user_id": pl.Categorical,
    "date": pl.Date,
    "drawn": pl.Int128,
    "imported": pl.Boolean,
    "foreign": pl.Boolean,
}


def drawn(
    connection: Connection,
    plan: Plan,
    run_id: int | None,
    rows: pl.DataFrame,
    modes: pl.LazyFrame | None,
    booked: pl.LazyFrame | None,
) -> Drawn:
    """Draws for priced ``rows``, and books what the ledger lacks; without a run (a dry run) it books nothing.

    Inside the caller's transaction. In: ``modes`` and ``booked`` of the chunk's users, as read at the start.
    """
    booked = of_window(pl.LazyFrame(schema=DRAWS) if booked is None else booked, rows, plan)
    strange = strange_rows(connection, plan, rows, booked)
    booked = pl.concat([booked, imports(strange).lazy()])
    modes = pl.LazyFrame(schema=MODES) if modes is None else modes
    users = pl.concat([rows.lazy().select(pl.col("user_id").cast(pl.String)), booked.select("user_id")]).unique()
    held = _accounts(connection, plan, users.collect()["user_id"])
    first, due = _computed(plan, rows, modes, held, booked)
    if due.is_empty():
        return Drawn(first, held, held, due, {}, strange)
    if run_id is None:
        return Drawn(first, held, _after(held, due, plan), due, _would_change(plan, due), strange)
    posted = due["user_id"].unique().sort()
    accounts.lock(connection, plan.settings, posted.to_list())
    locked = _accounts(connection, plan, posted)
    theirs = pl.col("user_id").cast(pl.String).is_in(posted.to_list())
    fresh = pl.concat(ledger.draws(connection, plan.settings, plan.window.months, posted))
    now = pl.concat([imports(strange).lazy(), of_window(fresh.lazy(), rows, plan)])
    again, due = _computed(plan, rows.filter(theirs), modes, locked, now)
    changed = {}
    if not due.is_empty():
        changed = accounts.post(connection, plan.settings, plan.query.read.credits, due, run_id)
    others = held.filter(~theirs)
    every, before = pl.concat([first.filter(~theirs), again]), pl.concat([others, locked])
    return Drawn(every, before, pl.concat([others, _after(locked, due, plan)]), due, changed, strange)


def of_window(booked: pl.LazyFrame, rows: pl.DataFrame, plan: Plan) -> pl.LazyFrame:
    """The draws that the run decides about. On days that it does not cover another program may have drawn, which stays
    as it is until they are covered, unless the row has come to a day that is."""
    here = rows.lazy().select("id", pl.col("user_id").cast(pl.String))
    later = pl.col("date") > plan.window.last
    return pl.concat([booked.filter(~later), booked.filter(later).join(here, on=["id", "user_id"], how="semi")])


def strange_rows(connection: Connection, plan: Plan, rows: pl.DataFrame, booked: pl.LazyFrame) -> pl.DataFrame:
    """Rows whose credits_deducted is not what the window has booked on them, with what the whole ledger says.

    Out: id, user_id, date, drawn (by the present user in all months), imported, ``foreign`` (neither that, nor what
    another user or all of them have drawn on the row: some other program wrote it).
    """
    if not plan.query.read.credits.shown:
        return pl.DataFrame(schema=STRANGE)
    user = pl.col("user_id").cast(pl.Categorical)
    sums = booked.group_by("id", user).agg((pl.col("free") + pl.col("purchased")).sum().alias("booked"))
    read = pl.col("deducted").cast(pl.Int128)
    unlike = read.ne_missing(pl.col("booked").fill_null(0))
    found = rows.lazy().join(sums, on=["id", "user_id"], how="left").filter(unlike).collect()
    known = ledger.known(connection, plan.settings, found["id"].to_list())
    anybody = known.group_by("id").agg("drawn", pl.col("drawn").sum().alias("whole"))
    mine = known.with_columns(user).rename({"drawn": "own"})
    marked = (
        found.join(mine, on=["id", "user_id"], how="left")
        .join(anybody, on="id", how="left")
        .with_columns(pl.col("own", "whole").fill_null(0), pl.col("imported").fill_null(value=False))
    )
    explained = (read == pl.col("own")) | (read == pl.col("whole")) | pl.col("drawn").list.contains(read)
    return marked.with_columns(foreign=~explained.fill_null(value=False), drawn=pl.col("own")).select(
        pl.col(name).cast(kind) for name, kind in STRANGE.items()
    )


def imports(strange: pl.DataFrame) -> pl.DataFrame:
    """Adopted rows, whatever month they have come from, as draws of nothing (frames.DRAWS): they still are prepaid."""
    adopted = strange.filter("imported").with_columns(revision=0, free=0, purchased=0)
    return adopted.select(pl.col(name).cast(kind) for name, kind in DRAWS.items())


def _accounts(connection: Connection, plan: Plan, users: pl.Series) -> pl.DataFrame:
    return accounts.read(connection, plan.settings, plan.query.read.credits, users.to_list())


def _computed(
    plan: Plan, rows: pl.DataFrame, modes: pl.LazyFrame, held: pl.DataFrame, booked: pl.LazyFrame
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Rows with their draws, and what is to be booked, one draw window after another."""
    windows = plan.window.draws
    if len(windows) == 1:
        return _window(plan, rows, modes, held, booked)
    parts = []
    for months in windows:
        here = pl.col("date").dt.month_start().is_in(months)
        part = _window(plan, rows.filter(here), modes, held, booked.filter(here))
        held = _after(held, part[1], plan)
        parts.append(part)
    return pl.concat([rows for rows, _ in parts]), pl.concat([due for _, due in parts])


def _window(
    plan: Plan, rows: pl.DataFrame, modes: pl.LazyFrame, held: pl.DataFrame, booked: pl.LazyFrame
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """One draw window; its credit is what ``held`` has left without its own draws (law 3)."""
    known = Bounds.of(rows, ["total_cost"])
    computed = credits.credited(rows.lazy(), modes, held.lazy(), booked, plan.credit_rules, known).collect()
    return computed, credits.postings(computed.lazy(), held.lazy(), booked).collect()


def _after(held: pl.DataFrame, due: pl.DataFrame, plan: Plan) -> pl.DataFrame:
    """The accounts once ``due`` is booked."""
    sums = due.group_by("user_id").agg(pl.col(lot).sum().alias(f"more_{lot}") for lot in credits.LOTS)
    free, bought = (pl.col(f"more_{lot}").fill_null(0) for lot in credits.LOTS)
    splits = plan.query.read.credits.splits
    return (
        held.join(sums, on="user_id", how="left")
        .with_columns(
            free_used=pl.col("free_used") + free if splits else pl.col("free_used"),
            used=pl.col("used") + bought + (0 if splits else free),
        )
        .select(held.columns)
    )


def _would_change(plan: Plan, due: pl.DataFrame) -> dict[str, int]:
    held = plan.query.read.credits
    changed = {"credit_draws": due.height, "user_credits": accounts.changed_accounts(due, held)}
    return changed | ({"credit_transactions": accounts.changed_transactions(due)} if held.transactions else {})
