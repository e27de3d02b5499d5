"""Have closed months changed upstream? Their usage, prices and overrides as they are now, beside what they closed with.

A month is told by the hash of its rows and their users in rollup.months, so that a swap between two users with equal
sums does not escape; which users, and why, by the hashes of their user-months.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from typing import Any

import polars as pl

from jobs.compute import rollup
from jobs.compute.causes import HASHES, KEY, joined
from jobs.figures import user_months
from jobs.model.scale import unscaled
from jobs.model.windows import Window, is_closed, last_of, opening
from jobs.plan import Plan, for_window
from jobs.reading import Reading, read_own, read_usage
from jobs.recompute import stood, taken
from jobs.settings import Settings
from jobs.store import preflight, runlog
from jobs.store.address import Address
from jobs.store.database import Connection, linked, transaction
from jobs.store.faults import retried
from jobs.store.spill import Spill
from jobs.sums import by_month_of


@dataclass(frozen=True, slots=True)
class Watched:
    """A closed month: rows and cost that it closed with and has now; user-months that differ, by cause."""

    month: date
    rows_before: int
    rows_now: int
    total_before: Decimal | None
    total_now: Decimal
    users: int
    causes: Mapping[str, int]
    changed: bool

    @property
    def remedy(self) -> str:
        """The command that mends it."""
        days = f"--from {self.month} --to {last_of(self.month)}"
        return f"usage-jobs backfill {days} --reason '{' and '.join(sorted(self.causes)) or 'usage'} changed'"


@dataclass(slots=True)
class _Now:
    """What the chunks add up to."""

    months: list[pl.DataFrame] = field(default_factory=list)
    causes: dict[date, Counter[str]] = field(default_factory=dict)


def watched(settings: Settings, address: Address, today: date, *, every: bool) -> list[Watched]:
    """The last ``watch_months`` closed months, or all, oldest first; read-only, in one snapshot.

    Raises ConfigError (exit 2) where a month has no price any more.
    """
    copied = settings.model_copy(update={"reader": "copy"})  # within the snapshot

    def looked() -> list[Watched]:
        with transaction(link.connection, snapshot=True) as connection:
            return _looked(connection, copied, address, today, every=every)

    with linked(address) as link:
        return retried(looked)


def _looked(connection: Connection, settings: Settings, address: Address, today: date, *, every: bool) -> list[Watched]:
    source, findings = preflight.source(connection, settings)
    preflight.refuse(findings, purpose="prove")
    history, booked = runlog.history(connection, settings)
    following = opening(history, settings.start, history.furthest or today)
    closed = sorted(month for month in booked.modes if is_closed(month, history, following))
    months = tuple(closed if every else closed[-settings.watch_months :])
    if not months:
        return []
    window = Window(months, last_of(months[-1]), frozenset(), frozenset(months))
    plan = for_window(connection, settings, source, window, booked)
    now = _Now()
    with Spill(settings.max_rows_per_chunk) as spill:
        reading = read_usage(connection, address, plan, spill, lambda *_: None)
        read_own(connection, plan, spill)
        for piece in spill.chunks():
            _compare(now, *_months_of(connection, plan, taken(spill, piece)))
    return _told(plan, now, reading)


def _months_of(
    connection: Connection, plan: Plan, kinds: Mapping[str, pl.LazyFrame | None]
) -> tuple[pl.DataFrame, pl.DataFrame | None]:
    here = stood(connection, plan, kinds)
    return user_months(here.paid, here.held, plan).collect(), here.months


def _compare(now: _Now, target: pl.DataFrame, stands: pl.DataFrame | None) -> None:
    now.months.append(by_month_of(target))
    hashes = [*KEY, *HASHES]
    there = target.clear().select(hashes) if stands is None else stands.select(hashes)
    both = target.lazy().select(hashes).join(there.lazy(), on=KEY, how="full", coalesce=True, suffix="_held")
    there_both = pl.col("rates_hash").is_not_null() & pl.col("rates_hash_held").is_not_null()
    found = both.select("month", cause=joined(there_both)).filter(pl.col("cause") != "")
    for month, cause, users in found.group_by("month", "cause").len().collect().iter_rows():
        now.causes.setdefault(month, Counter())[cause] += users


def _told(plan: Plan, now: _Now, reading: Reading) -> list[Watched]:
    rows = rollup.added(pl.concat(now.months).lazy(), ["month"]).collect().iter_rows(named=True)
    found: dict[date, Mapping[str, Any]] = {row["month"]: row for row in rows}
    return [_month(plan, month, now, found.get(month, {}), reading) for month in plan.window.months]


def _month(plan: Plan, month: date, now: _Now, found: Mapping[str, Any], reading: Reading) -> Watched:
    hashed = found.get("usage_hash", 0) % 2**63
    causes = now.causes.get(month, Counter())
    differs = hashed != plan.booked.hashes[month] or plan.rates_hash(month) != plan.booked.rates[month]
    return Watched(
        month,
        plan.booked.rows[month],
        reading.rows[month],
        plan.booked.totals[month],
        unscaled(found.get("total_cost", 0)),
        causes.total(),
        dict(causes),
        differs or causes.total() > 0,
    )
