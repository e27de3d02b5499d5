"""What the chunks of a run add up to: for the end of the run, for its report, for its plan."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal

import polars as pl

from jobs.agreed import Parts, Told
from jobs.chunk import Done
from jobs.compute import hashes, rollup
from jobs.model.backfill import Backfill
from jobs.model.report import CreditStory, Entries
from jobs.model.scale import unscaled
from jobs.store.spill import Chunk

BEFORE_THE_END = (
    *("billing_modes", "credit_draws", "credit_transactions"),
    *("user_credits", "usage_daily", "user_monthly"),
)
"""The tables that are written before the end of a run, in this order."""
PAID = ("credits_deducted", "uncovered", "amount_due", "amount_reported")


@dataclass(slots=True)
class Sums:
    """What the chunks add up to: cluster parts, figures by month (units of 10^-10), rows changed per table;
    ``taken`` and ``refused``: ids of rows that were read anew, and can or cannot be priced."""

    days: dict[int, pl.DataFrame] = field(default_factory=dict)
    actives: dict[int, pl.DataFrame] = field(default_factory=dict)
    months: dict[int, pl.DataFrame] = field(default_factory=dict)
    taken: set[int] = field(default_factory=set)
    refused: set[int] = field(default_factory=set)
    ran_out: dict[int, pl.DataFrame] = field(default_factory=dict)
    user_months: dict[int, int] = field(default_factory=dict)
    changed: Counter[str] = field(default_factory=lambda: Counter(dict.fromkeys(BEFORE_THE_END, 0)))
    posted: Counter[str] = field(default_factory=Counter)
    """Of what was booked: users, and per kind of entry rows and amounts (units of 10^-10)."""
    foreign: set[int] = field(default_factory=set)
    unusable: Sequence[str] = ()
    told: Told = field(default_factory=Told)
    chunks: Sequence[Chunk] = ()
    continues: tuple[int, str] | None = None
    """The backfill of the same days that did not come to its end, and how it ended."""
    last: Mapping[str, int] = field(default_factory=dict)
    """What the end of the run changes; set before its COMMIT, whose answer may be lost."""

    @classmethod
    def of(cls, asked: Backfill | None, parts: Parts | None = None) -> "Sums":
        """Nothing yet, of a run or a backfill; ``parts``: the plan to carry out."""
        return cls() if asked is None else cls(told=Told(asked.limits, parts))

    @property
    def all_changed(self) -> dict[str, int]:
        return {**self.changed, **self.last}

    def add(self, number: int, done: Done) -> None:
        """Takes what chunk ``number`` found, in place of what an earlier try of it had found."""
        self.days[number] = done.days
        self.actives[number] = done.actives
        self.months[number] = by_month_of(done.users)
        self.ran_out[number] = done.users.filter(pl.col("uncovered") > 0).select("user_id", "month", "uncovered")
        self.user_months[number] = done.users.height
        self.posted.update(_posted(done.postings))
        self.foreign.update(done.foreign)
        self.changed.update(done.changed)
        self.taken |= done.anew.taken
        self.refused = (self.refused | done.anew.refused) - done.anew.taken

    @property
    def by_month(self) -> Mapping[date, Mapping[str, int]]:
        summed = rollup.added(pl.concat(self.months.values()).lazy(), ["month"]).collect()
        return {row["month"]: row for row in summed.iter_rows(named=True)}

    @property
    def total(self) -> Decimal:
        return unscaled(sum(figures["total_cost"] for figures in self.by_month.values()))

    @property
    def unpriced(self) -> int:
        return sum(figures["unpriced"] for figures in self.by_month.values())

    @property
    def without_credit(self) -> pl.DataFrame:
        """Users whose prepaid usage is not covered, with how much of each month."""
        return pl.concat(self.ran_out.values()).sort("user_id", "month")

    def story(self) -> CreditStory:
        """What the run did with credits, for its report."""
        found, posted = self.by_month.values(), self.posted
        totals = {name: unscaled(sum(month[name] for month in found)) for name in PAID}
        return CreditStory(
            users_drawn=posted["users"],
            free=unscaled(posted["free"]),
            purchased=unscaled(posted["purchased"]),
            taken=Entries(posted["taken rows"], unscaled(posted["taken"])),
            given_back=Entries(posted["given back rows"], unscaled(-posted["given back"])),
            reassigned=posted["reassigned rows"],
            users_ran_out=self.without_credit["user_id"].n_unique(),
            foreign_rows=len(self.foreign),
            **totals,
        )


def _posted(postings: pl.DataFrame) -> dict[str, int]:
    """What was booked: fresh draws, and corrections by direction."""
    rows = postings.with_columns(amount=pl.col("free") + pl.col("purchased"))
    corrected = rows.filter(~pl.col("fresh"))
    taken, back = corrected.filter(pl.col("amount") > 0), corrected.filter(pl.col("amount") < 0)
    return {
        "users": postings["user_id"].n_unique(),
        "free": int(postings["free"].sum()),
        "purchased": int(postings["purchased"].sum()),
        "taken rows": taken.height,
        "taken": int(taken["amount"].sum()),
        "given back rows": back.height,
        "given back": int(back["amount"].sum()),
        "reassigned rows": corrected.height - taken.height - back.height,
    }


def by_month_of(users: pl.DataFrame) -> pl.DataFrame:
    """User-months (figures.user_months) summed by month; usage_hash is to be taken modulo 2^63."""
    owners = pl.Series("owner", hashes.of_users(users["user_id"]), dtype=pl.Int64)
    # Sums of hashes stay wide: they are cut to a bigint once, when all chunks are in.
    hashed = hashes.owned(pl.col("owner"), pl.col("usage_hash")).cast(pl.Int128).sum().alias("usage_hash")
    wide = pl.col("rows", "unpriced", "total_cost", *PAID).cast(pl.Int128).sum()
    return users.with_columns(owners).group_by("month").agg(hashed, wide)
