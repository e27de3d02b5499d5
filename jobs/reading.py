"""Reads usage once: good rows to the spill, the others to the rejects, and counts both for the brake."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import date
from uuid import UUID

import polars as pl

from jobs.figures import takeable
from jobs.plan import Plan
from jobs.store import ledger, modes, pooling, readers, tables
from jobs.store.address import Address
from jobs.store.database import Connection, transaction
from jobs.store.rejects import Reject
from jobs.store.spill import Spill


@dataclass(slots=True)
class Reading:
    """What was read: rows in all, accepted rows and distinct users by month, ids that cannot be priced; and at the
    end of the run the rejects themselves."""

    read: int = 0
    rows: Counter[date] = field(default_factory=Counter)
    users: Counter[date] = field(default_factory=Counter)
    bad: set[int] = field(default_factory=set)
    rejects: list[Reject] = field(default_factory=list)


def read_usage(
    connection: Connection,
    address: Address,
    plan: Plan,
    spill: Spill,
    progress: Callable[[str, int, int | None], None],
) -> Reading:
    """Reads the days of the window, each row once; tried again, it begins anew."""
    pooled = pooling.is_transaction_pooled(address, connection)
    reader, good = readers.chosen(plan.settings.reader, address, pooled=pooled), takeable(plan)
    reading = Reading(bad={int(UUID(id_)) for id_ in readers.undated(connection, plan.query)})
    spill.drop("usage")
    reading.read = len(reading.bad)
    undated = pl.DataFrame({"id": sorted(reading.bad)}, schema={"id": pl.UInt128})
    seen = pl.DataFrame(schema={"month": pl.Date, "user": pl.UInt64})
    for frame in readers.batches(address, connection, reader, plan.query, plan.window.spans()):
        reading.read += frame.height
        accepted = frame.filter(good)
        # A row may have got its day since it was found without one.
        reading.bad -= set(accepted.join(undated, on="id", how="semi")["id"])
        if accepted.height < frame.height:
            reading.bad |= set(frame.filter(~good)["id"])
        spill.put("usage", accepted)
        months = accepted.select(pl.col("date").dt.month_start().alias("month"), pl.col("user_id").hash().alias("user"))
        reading.rows.update(dict(months.group_by("month").len().iter_rows()))
        seen = pl.concat([seen, months]).unique()
        progress("read", reading.read, None)
    reading.users.update(dict(seen.group_by("month").len().iter_rows()))
    return reading


def read_own(connection: Connection, plan: Plan, spill: Spill) -> None:
    """Our own tables, of the months: compared with, and the only trace of users whose usage is all gone."""
    of, months = tables.table(plan.settings, "user_monthly"), plan.window.months
    spill.drop("standing", "modes", "draws")
    with transaction(connection):
        for kind, frames in {
            "standing": tables.standing(connection, plan.settings, of, months),
            "modes": modes.history(connection, plan.settings),
            "draws": ledger.draws(connection, plan.settings, months),
        }.items():
            for frame in frames:
                spill.put(kind, frame)
