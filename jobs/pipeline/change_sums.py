"""Sums for the change check: what a run would change on covered days, and what new days cost, added batch by batch.

Increases and decreases are summed apart: an amount that moves from one user to another is a change. Free and purchased
draws are summed apart as well.
"""

from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date
from functools import partial
from itertools import chain

import polars as pl

from jobs.domain.billing_periods import first_of
from jobs.domain.fixed_point_columns import WIDE, int128
from jobs.domain.rules import LOTS
from jobs.domain.tables import USER_MONTH
from jobs.pipeline.batch_changes import BatchChanges
from jobs.pipeline.batch_reading import rate_users
from jobs.pipeline.batches import BatchResult, BatchRunner
from jobs.pipeline.table_diff import TableDiff
from jobs.pipeline.workers import run_side_by_side
from jobs.postgres.connections import ReconnectingConnection, transaction
from jobs.postgres.detection import Detected
from jobs.postgres.errors import retry
from jobs.postgres.run_scope import RunScope

LARGEST = 3
"""How many users are named by month and kind, and by new day."""
PERIOD_KIND = ["period", "kind"]
LARGEST_CHANGES: dict[str, pl.DataType | type[pl.DataType]] = {
    "period": pl.Date,
    "kind": pl.String,
    "user_id": pl.String,
    "cause": pl.String,
    "more": pl.Int128,
    "less": pl.Int128,
}
SIZE = pl.max_horizontal("more", "less")


@dataclass(slots=True)
class ChangeSums:
    """The sums of all batches so far.

    - ``by_cause``: users, ``more`` and ``less`` (units of 10^-10) by ``period`` (the first day of a month), kind
      ("cost", "draws") and cause;
    - ``largest``: the users with the largest changes (LARGEST_CHANGES), for new days too: ``period`` is then the day,
      and the kind "day";
    - ``days``: the amount that the cost of each day changes by (units of 10^-10).
    """

    scope: RunScope
    by_cause: list[pl.DataFrame] = field(default_factory=list)
    largest: pl.DataFrame = field(default_factory=lambda: pl.DataFrame(schema=LARGEST_CHANGES))
    days: Counter[date] = field(default_factory=Counter)

    def add(self, changes: BatchChanges) -> None:
        """Adds the changes of a batch."""
        daily = _cost_changes(changes.days, "date")
        self.add_days(daily)
        is_new = pl.col("date") > self.scope.covered_to
        # The cost of covered days: that of the months, less that of their new days.
        less_new_days = daily.filter(is_new).select(_month(), "user_id", (0 - pl.col("total_cost")).alias("total_cost"))
        cost = pl.concat([_cost_changes(changes.months, "month"), less_new_days])
        # Draws of settled debts are left out: they are in closed months, which the run does not compute.
        in_window = pl.col("month").is_in(self.scope.window.months)
        draws = changes.targets.postings.filter(in_window & ~is_new).select(
            *USER_MONTH, *(pl.col(lot).cast(WIDE) for lot in LOTS)
        )
        by_user = (
            pl.concat([_sum_by_user(cost, "cost", "total_cost"), *(_sum_by_user(draws, "draws", lot) for lot in LOTS)])
            .join(changes.causes.select(*USER_MONTH, "cause"), on=USER_MONTH, how="left")
            .rename({"month": "period"})
            .group_by(*PERIOD_KIND, "user_id", "cause")
            .agg(pl.col("more", "less").sum())
        )
        self.by_cause.append(
            by_user.group_by(*PERIOD_KIND, "cause").agg(pl.len().alias("users"), pl.col("more", "less").sum())
        )
        self._add_largest(by_user)

    def add_days(self, rows: pl.DataFrame) -> None:
        """Adds cost changes by day and user: date, user_id and total_cost."""
        by_user = rows.group_by("date", pl.col("user_id").cast(pl.String)).agg(pl.col("total_cost").sum())
        for day, cost in by_user.group_by("date").agg(pl.col("total_cost").sum()).iter_rows():
            self.days[day] += cost
        new = by_user.filter(pl.col("date") > self.scope.covered_to)
        self._add_largest(
            new.select(
                pl.col("date").alias("period"),
                "user_id",
                kind=pl.lit("day"),
                cause=pl.lit(None, pl.String),
                more="total_cost",
                less=int128(0),
            )
        )

    def _add_largest(self, changes: pl.DataFrame) -> None:
        candidates = pl.concat([self.largest, changes.select(list(LARGEST_CHANGES)).cast(LARGEST_CHANGES)])  # type: ignore[arg-type]
        self.largest = (
            candidates.sort(SIZE, "user_id", descending=[True, False])
            .group_by(PERIOD_KIND, maintain_order=True)
            .head(LARGEST)
        )

    @property
    def months(self) -> Iterator[tuple[date, str, int, int]]:
        """Month, kind, more and less of the changes on covered days."""
        if self.by_cause:
            yield from (
                pl.concat(self.by_cause)
                .group_by(PERIOD_KIND)
                .agg(pl.col("more", "less").sum())
                .sort(PERIOD_KIND)
                .iter_rows()
            )

    def causes(self, period: date, kind: str) -> Iterator[tuple[str, int, int, int]]:
        """Yields cause, users, more and less of a month's changes, the largest first."""
        rows = (
            pl.concat(self.by_cause)
            .filter(period=period, kind=kind)
            .group_by("cause")
            .agg(pl.col("users", "more", "less").sum())
        )
        for cause, users, more, less in rows.sort(SIZE, descending=True).iter_rows():
            yield cause or "other", users, more, less

    def users(self, period: date, kind: str) -> Sequence[tuple[str, int, int]]:
        """Returns user, more and less of the users with the largest changes."""
        return self.largest.filter(period=period, kind=kind).select("user_id", "more", "less").rows()


def compute_sums(
    links: Sequence[ReconnectingConnection], runner: BatchRunner, detected: Detected
) -> tuple[ChangeSums, list[BatchResult]]:
    """Computes the sums of all users of the work list, read-only and without locks.

    Users whose covered days differ are computed as in a dry run. Of the others only the new rows are rated. If the work
    list is one batch, all of it is computed and the result returned too, but not if a user has payable debts: which
    ones depends on the run_id.
    """
    sums, is_one_batch, computed = ChangeSums(runner.scope), len(detected.work) == 1, list[BatchResult]()
    changed, only_new_days = (detected.work, ()) if is_one_batch else (detected.changed, detected.only_new_days)
    slices = chain(((True, users) for users in changed), ((False, users) for users in only_new_days))

    def compute(link: ReconnectingConnection, slice_: tuple[bool, list[str]]) -> BatchResult | pl.DataFrame:
        return retry(partial(_compute, link, runner, *slice_))

    for result in run_side_by_side(links, compute, slices):
        if isinstance(result, pl.DataFrame):
            sums.add_days(result)
        elif result.changes is not None:
            sums.add(result.changes)
            if is_one_batch and result.changes.targets.inputs.payable.is_empty():
                computed.append(result)
    return sums, computed


def _compute(
    link: ReconnectingConnection, runner: BatchRunner, is_changed: bool, users: Collection[str]
) -> BatchResult | pl.DataFrame:
    with transaction(link.connection, snapshot=True) as connection:
        if is_changed:
            return runner.compute(connection, users)
        rated = rate_users(connection, runner.reader, runner.scope, users, _new_spans(runner.scope))
    return rated.filter(pl.col("date") > runner.scope.covered_to).select("date", "user_id", "total_cost")


def _new_spans(scope: RunScope) -> list[tuple[date, date]]:
    """Returns the days to rate so that the new days can be priced: with tiers over a month, the whole month."""
    assert scope.new_days is not None  # noqa: S101 - without new days, only_new_days is empty
    first, _ = scope.new_days
    since = first_of(first) if scope.settings.tiers == "month" else first
    return [(max(start, since), end) for start, end in scope.window.spans() if end >= since]


def _cost_changes(diff: TableDiff, when: str) -> pl.DataFrame:
    """Returns what the rows that change add to the cost, by ``when`` ("date" or "month") and user."""
    cost = pl.col("total_cost").cast(WIDE)
    before = diff.replaced.select(when, "user_id", (0 - cost).alias("total_cost"))
    return pl.concat([diff.upserts.select(when, "user_id", cost), before])


def _sum_by_user(rows: pl.DataFrame, kind: str, amount: str) -> pl.DataFrame:
    """Returns by user and month how much ``amount`` increases (``more``) or decreases (``less``)."""
    change = pl.col(amount)
    return (
        rows.group_by(USER_MONTH)
        .agg(change.sum())
        .filter(change != 0)
        .select(
            *USER_MONTH,
            kind=pl.lit(kind),
            more=pl.when(change > 0).then(change).otherwise(int128(0)),
            less=pl.when(change < 0).then(0 - change).otherwise(int128(0)),
        )
    )


def _month() -> pl.Expr:
    return pl.col("date").dt.month_start().alias("month")
