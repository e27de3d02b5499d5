"""Some users of a chunk: their credits, computed from what was read of them."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import polars as pl

from jobs.compute import credits, postings
from jobs.compute.exact import Bounds
from jobs.compute.lots import LOTS
from jobs.model.frames import DRAWS
from jobs.plan import Plan
from jobs.strange import STRANGE


@dataclass(frozen=True, slots=True)
class Part:
    """Some users: their credited ``rows``, accounts ``held``, what is ``due`` to be booked (compute.postings), what the
    ledger said of them (``booked``; nothing where it was not asked), rows that are ``strange``; ``months``: all that
    user_monthly shall hold of them, where that is known already."""

    rows: pl.DataFrame
    held: pl.DataFrame
    due: pl.DataFrame
    booked: pl.LazyFrame = field(default_factory=lambda: pl.LazyFrame(schema=DRAWS))
    strange: pl.DataFrame = field(default_factory=lambda: pl.DataFrame(schema=STRANGE))
    months: pl.DataFrame | None = None

    def without(self, users: pl.Series) -> "Part":
        """The same of everybody but ``users``; rows that are strange stay."""
        rest = ~of(users)
        months = None if self.months is None else self.months.filter(rest)
        rows, held, due = self.rows.filter(rest), self.held.filter(rest), self.due.filter(rest)
        return replace(self, rows=rows, held=held, due=due, months=months)


def of(users: pl.Series) -> pl.Expr:
    """Rows of ``users``."""
    return pl.col("user_id").cast(pl.String).is_in(users.implode())


def computed(
    plan: Plan, rows: pl.DataFrame, modes: pl.LazyFrame, held: pl.DataFrame, booked: pl.LazyFrame
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """``rows`` with their draws, and what is to be booked, one draw window after another."""
    windows = plan.window.draws
    if len(windows) == 1:
        return _window(plan, rows, modes, held, booked)
    parts = []
    for months in windows:
        here = pl.col("date").dt.month_start().is_in(months)
        part = _window(plan, rows.filter(here), modes, held, booked.filter(here))
        held = after(held, part[1], plan)
        parts.append(part)
    return pl.concat([rows for rows, _ in parts]), pl.concat([due for _, due in parts])


def _window(
    plan: Plan, rows: pl.DataFrame, modes: pl.LazyFrame, held: pl.DataFrame, booked: pl.LazyFrame
) -> tuple[pl.DataFrame, pl.DataFrame]:
    paid = credited(plan, rows, modes, held, booked)
    return paid, postings.postings(paid.lazy(), held.lazy(), booked).collect()


def credited(
    plan: Plan,
    rows: pl.DataFrame,
    modes: pl.LazyFrame,
    held: pl.DataFrame,
    booked: pl.LazyFrame,
    how: Callable[..., pl.LazyFrame] = credits.credited,
) -> pl.DataFrame:
    """One draw window; its credit is what ``held`` has left without its own draws (law 3)."""
    known = Bounds.of(rows, ["total_cost"])
    return how(rows.lazy(), modes, held.lazy(), booked, plan.credit_rules, known).collect()


def after(held: pl.DataFrame, due: pl.DataFrame, plan: Plan) -> pl.DataFrame:
    """The accounts once ``due`` is booked."""
    sums = due.group_by("user_id").agg(pl.col(lot).sum().alias(f"more_{lot}") for lot in LOTS)
    free, bought = (pl.col(f"more_{lot}").fill_null(0) for lot in LOTS)
    splits = plan.query.read.credits.splits
    return (
        held.join(sums, on="user_id", how="left")
        .with_columns(
            free_used=pl.col("free_used") + free if splits else pl.col("free_used"),
            used=pl.col("used") + bought + (0 if splits else free),
        )
        .select(held.columns)
    )
