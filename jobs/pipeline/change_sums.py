"""What a run would change of days that are covered, and what its new days cost, added up batch by batch.

The change of a user's month counts as more or as less, never one against the other: what is taken from one user and
given to another is a change. Free and purchased draws count apart likewise.
"""

from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date
from functools import partial
from itertools import chain

import polars as pl

from jobs.credits.lots import LOTS
from jobs.domain.billing_periods import first_of
from jobs.domain.fixed_point_columns import WIDE, int128
from jobs.pipeline.batch import Batch
from jobs.pipeline.batch_changes import BatchChanges
from jobs.pipeline.batch_input import rate_users
from jobs.pipeline.rollup_writer import TableDiff
from jobs.pipeline.workers import run_side_by_side
from jobs.postgres.connections import ReconnectingConnection, transaction
from jobs.postgres.detection import Detected
from jobs.postgres.errors import retry
from jobs.postgres.run_scope import RunScope
from jobs.rollups.causes import KEY

LARGEST = 3
"""So many users are named of each month and kind, and of each new day."""
OF = ["day", "kind"]
CHANGES: dict[str, pl.DataType | type[pl.DataType]] = {
    "day": pl.Date,
    "kind": pl.String,
    "user_id": pl.String,
    "cause": pl.String,
    "more": pl.Int128,
    "less": pl.Int128,
}
SIZE = pl.max_horizontal("more", "less")


@dataclass(slots=True)
class ChangeSums:
    """``sums``: by month (as its first day), kind ("cost", "draws") and cause, users, ``more`` and ``less`` (units of
    10^-10); ``largest``: the users with the largest changes, of new days (kind "day") too; ``days``: what is to be
    added to the cost of each day."""

    scope: RunScope
    sums: list[pl.DataFrame] = field(default_factory=list)
    largest: pl.DataFrame = field(default_factory=lambda: pl.DataFrame(schema=CHANGES))
    days: Counter[date] = field(default_factory=Counter)

    def add(self, changes: BatchChanges) -> None:
        """Takes what a batch would change; once that is complete."""
        assert changes.daily is not None and changes.monthly is not None  # noqa: S101, PT018
        daily = _changed(changes.daily, "date")
        self.add_days(daily)
        new = pl.col("date") > self.scope.covered_to
        covered = pl.concat(
            [
                _changed(changes.monthly, "month"),
                daily.filter(new).select(_month(), "user_id", (0 - pl.col("total_cost")).alias("total_cost")),
            ]
        )
        # A debt is settled in a closed month: what the purchase pays is no change of it.
        computed = pl.col("month").is_in(self.scope.window.months)
        drawn = changes.postings.filter(computed & ~new).select(
            "month", "user_id", *(pl.col(lot).cast(WIDE) for lot in LOTS)
        )
        found = pl.concat([_by_user(covered, "cost", "total_cost"), *(_by_user(drawn, "draws", lot) for lot in LOTS)])
        found = found.join(changes.causes.select(*KEY, "cause"), on=KEY, how="left").rename({"month": "day"})
        found = found.group_by(*OF, "user_id", "cause").agg(pl.col("more", "less").sum())
        self.sums.append(found.group_by(*OF, "cause").agg(pl.len().alias("users"), pl.col("more", "less").sum()))
        self._name(found)

    def add_days(self, rows: pl.DataFrame) -> None:
        """Takes rows with date, user_id and total_cost, which are added to what the days cost."""
        by_user = rows.group_by("date", pl.col("user_id").cast(pl.String)).agg(pl.col("total_cost").sum())
        for day, cost in by_user.group_by("date").agg(pl.col("total_cost").sum()).iter_rows():
            self.days[day] += cost
        new = by_user.filter(pl.col("date") > self.scope.covered_to)
        self._name(
            new.select(
                pl.col("date").alias("day"),
                "user_id",
                kind=pl.lit("day"),
                cause=pl.lit(None, pl.String),
                more="total_cost",
                less=int128(0),
            )
        )

    def _name(self, found: pl.DataFrame) -> None:
        every = pl.concat([self.largest, found.select(list(CHANGES)).cast(CHANGES)])  # type: ignore[arg-type]
        self.largest = (
            every.sort(SIZE, "user_id", descending=[True, False]).group_by(OF, maintain_order=True).head(LARGEST)
        )

    @property
    def months(self) -> Iterator[tuple[date, str, int, int]]:
        """Month, kind, more and less of all that changes on days that are covered."""
        if self.sums:
            yield from pl.concat(self.sums).group_by(OF).agg(pl.col("more", "less").sum()).sort(OF).iter_rows()

    def causes(self, day: date, kind: str) -> Iterator[tuple[str, int, int, int]]:
        """Cause, users, more and less of a month's changes, the largest first."""
        rows = (
            pl.concat(self.sums).filter(day=day, kind=kind).group_by("cause").agg(pl.col("users", "more", "less").sum())
        )
        for cause, users, more, less in rows.sort(SIZE, descending=True).iter_rows():
            yield cause or "other", users, more, less

    def users(self, day: date, kind: str) -> Sequence[tuple[str, int, int]]:
        """The users with the largest changes: user, more and less."""
        return self.largest.filter(day=day, kind=kind).select("user_id", "more", "less").rows()


def compute_sums(links: Sequence[ReconnectingConnection], batch: Batch, found: Detected) -> ChangeSums:
    """The sums of what is to be recomputed of users whose covered days differ, as a dry run computes it, and of the
    new rows of the others. Nothing is locked or written."""
    sums = ChangeSums(batch.plan)
    parts = chain(((True, users) for users in found.changed), ((False, users) for users in found.added))

    def compute(link: ReconnectingConnection, part: tuple[bool, list[str]]) -> BatchChanges | pl.DataFrame | None:
        return retry(partial(_compute, link, batch, *part))

    for each in run_side_by_side(links, compute, parts):
        if isinstance(each, BatchChanges):
            sums.add(each)
        elif each is not None:
            sums.add_days(each)
    return sums


def _compute(
    link: ReconnectingConnection, batch: Batch, is_changed: bool, users: Collection[str]
) -> BatchChanges | pl.DataFrame | None:
    with transaction(link.connection, snapshot=True) as connection:
        if is_changed:
            return batch.compute(connection, users).changes
        rated = rate_users(connection, batch.reader, batch.plan, users, _new_spans(batch.plan))
    return rated.filter(pl.col("date") > batch.plan.covered_to).select("date", "user_id", "total_cost")


def _new_spans(scope: RunScope) -> list[tuple[date, date]]:
    """The days that decide what new ones cost: with tiers over a month, all of the month."""
    assert scope.new_days is not None  # noqa: S101 - nobody has only new days where there are none
    first, _ = scope.new_days
    since = first_of(first) if scope.settings.tiers == "month" else first
    return [(max(start, since), end) for start, end in scope.window.spans() if end >= since]


def _changed(diff: TableDiff, when: str) -> pl.DataFrame:
    """What the rows that change add to the cost, by ``when`` ("date" or "month") and user."""
    before = diff.stored.join(diff.keys, on=list(diff.table.key), how="semi", nulls_equal=True)
    cost = pl.col("total_cost").cast(WIDE)
    less = before.select(when, "user_id", (0 - cost).alias("total_cost"))
    return pl.concat([diff.put.select(when, "user_id", cost), less])


def _by_user(rows: pl.DataFrame, kind: str, amount: str) -> pl.DataFrame:
    """Of each user and month by how much it becomes more or less."""
    change = pl.col(amount)
    return (
        rows.group_by(KEY)
        .agg(change.sum())
        .filter(change != 0)
        .select(
            *KEY,
            kind=pl.lit(kind),
            more=pl.when(change > 0).then(change).otherwise(int128(0)),
            less=pl.when(change < 0).then(0 - change).otherwise(int128(0)),
        )
    )


def _month() -> pl.Expr:
    return pl.col("date").dt.month_start().alias("month")
