"""Reads usage once: good rows to the spill, the others to the rejects, and counts both for the brake."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from enum import Enum
from uuid import UUID

import polars as pl

from jobs.figures import takeable
from jobs.model.frames import CODED
from jobs.model.scale import scaled
from jobs.plan import Plan
from jobs.store import ledger, modes, pooling, readers, tables
from jobs.store.address import Address
from jobs.store.database import Connection, Link, transaction
from jobs.store.rejects import Reject
from jobs.store.spill import Spill

SEEN_ROWS = 2_000_000
"""Rows whose users and months are remembered until they are counted together: 8 bytes each."""


@dataclass(slots=True)
class Reading:
    """What was read: rows in all, accepted rows and distinct users by month, ids that cannot be priced; and at the
    end of the run the rejects themselves."""

    read: int = 0
    rows: Counter[date] = field(default_factory=Counter)
    users: Counter[date] = field(default_factory=Counter)
    bad: set[int] = field(default_factory=set)
    rejects: list[Reject] = field(default_factory=list)


@dataclass(slots=True)
class _Seen:
    """Counts rows, and distinct users, by month: many rows at a time, each as one number of month and user."""

    reading: Reading
    fresh: list[pl.Series] = field(default_factory=list)
    known: pl.Series = field(default_factory=lambda: pl.Series("seen", dtype=pl.Int64))

    def add(self, rows: pl.DataFrame) -> None:
        month = pl.col("date").dt.month_start().to_physical().cast(pl.Int64)
        self.fresh.append(rows.select(seen=month * 2**32 + pl.col("user_id").to_physical()).to_series())
        if sum(map(len, self.fresh)) > SEEN_ROWS:
            self.count()

    def count(self) -> None:
        if self.fresh:
            rows = pl.concat(self.fresh)
            self.reading.rows.update(_by_month(rows))
            self.fresh, self.known = [], pl.concat([self.known, rows.unique()]).unique()

    def users(self) -> dict[date, int]:
        return _by_month(self.known)


def _by_month(seen: pl.Series) -> dict[date, int]:
    months = seen.to_frame("seen").group_by((pl.col("seen") // 2**32).cast(pl.Int32).cast(pl.Date)).len()
    return dict(months.iter_rows())


def read_usage(
    connection: Connection,
    address: Address,
    plan: Plan,
    spill: Spill,
    progress: Callable[[str, int, int | None], None],
    others: Sequence[Link] = (),
) -> Reading:
    """Reads the days of the window, each row once; tried again, it begins anew. ``others``: see ``readers.batches``."""
    pooled = pooling.is_transaction_pooled(address, connection)
    reader, good = readers.chosen(plan.settings.reader, address, pooled=pooled), takeable(plan)
    reading = Reading(bad={int(UUID(id_)) for id_ in readers.undated(connection, plan.query)})
    spill.drop("usage")
    reading.read = len(reading.bad)
    undated = pl.DataFrame({"id": sorted(reading.bad)}, schema={"id": pl.UInt128})
    seen = _Seen(reading)
    for frame in readers.batches(address, connection, reader, plan.query, plan.window.spans(), others):
        reading.read += frame.height
        # Nearly always every row is: filtering would copy them all.
        accepted = frame if frame.select(good.all()).item() else frame.filter(good)
        # A row may have got its day since it was found without one.
        reading.bad -= set(accepted.join(undated, on="id", how="semi")["id"]) if undated.height else set()
        if accepted.height < frame.height:
            reading.bad |= set(frame.filter(~good)["id"])
        accepted = accepted.with_columns(CODED)
        spill.put("usage", accepted)
        seen.add(accepted)
        progress("read", reading.read, None)
    seen.count()
    reading.users.update(seen.users())
    return reading


class Ledger(Enum):
    """What is known of the ledger once our own tables were read: nothing, the months' draws, or that it is empty."""

    UNREAD, READ, EMPTY = range(3)


def read_own(connection: Connection, plan: Plan, spill: Spill, *, sparing: bool = False) -> Ledger:
    """Our own tables, of the months: compared with, and the only trace of users whose usage is all gone.

    ``sparing``: the ledger only where whole months have to be asked of it (see ``steady``).
    """
    of, months = tables.table(plan.settings, "user_monthly"), plan.window.months
    spill.drop("standing", "modes", "draws")
    totals: Counter[date] = Counter()
    with transaction(connection):
        for frame in tables.standing(connection, plan.settings, of, months):
            spill.put("standing", frame)
            totals.update(dict(frame.group_by("month").agg(pl.col("total_cost").sum()).iter_rows()))
        for frame in modes.history(connection, plan.settings):
            spill.put("modes", frame)
        if sparing and not _has_to_be_asked(connection, plan, totals):
            return Ledger.UNREAD
        for frame in ledger.draws(connection, plan.settings, months):
            spill.put("draws", frame)
        return Ledger.READ if ledger.holds_any(connection, plan.settings) else Ledger.EMPTY


def _has_to_be_asked(connection: Connection, plan: Plan, totals: Mapping[date, int]) -> bool:
    """Whether most users would have to be asked for one by one, or the ledger may hold draws of users of whom there is
    no other trace: adopted ones, or where the roll-up is no longer what the last run left."""
    booked, months = plan.booked, plan.window.months
    if not totals or plan.told or len(plan.window.draws) > 1 or not plan.query.read.credits.account:
        return True
    if any(month in booked.rates and booked.rates[month] != plan.rates_hash(month) for month in months):
        return True
    if any(totals.get(month, 0) != scaled(booked.totals.get(month) or Decimal()) for month in months):
        return True
    return ledger.has_adopted(connection, plan.settings, months)
