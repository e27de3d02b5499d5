"""What a run is going to do, decided before any usage is read: days, modes, prices, overrides, the query."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import date
from typing import Any

import polars as pl

from jobs.compute.billing import CreditRules
from jobs.compute.costs import CostRules
from jobs.compute.pricing import Terms
from jobs.model.backfill import Backfill
from jobs.model.errors import ConfigError
from jobs.model.meters import Meter
from jobs.model.rates import RateCard
from jobs.model.scale import PLACES
from jobs.model.windows import Window, backfill, cost_modes, nightly
from jobs.settings import Settings
from jobs.store import overrides, runlog
from jobs.store.database import Connection
from jobs.store.overrides import Overrides
from jobs.store.preflight import Source
from jobs.store.runlog import Booked
from jobs.store.usage import UsageQuery


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything that a chunk needs to know; it depends on nothing else, so chunks depend on nothing of each other."""

    settings: Settings
    window: Window
    modes: Mapping[date, str]
    booked: Booked
    query: UsageQuery
    terms: Terms
    rules: CostRules
    overrides: Overrides
    notes: tuple[str, ...]
    backfill: Backfill | None = None
    covered: date = date.min
    """The furthest day that an earlier run has covered."""

    @property
    def is_covered(self) -> pl.Expr:
        """Whether an earlier run has covered the day of a row."""
        return pl.col("date") <= self.covered

    @property
    def told(self) -> bool:
        """Whether every row to be written is told, for a plan that is shown or compared."""
        return self.backfill is not None

    @property
    def kind(self) -> str:
        """Of the run, in rollup.runs."""
        return "run" if self.backfill is None else "backfill"

    @property
    def reason(self) -> str | None:
        return None if self.backfill is None else self.backfill.reason

    @property
    def credit_rules(self) -> CreditRules:
        """By what draws are computed. The ledger's scale is the smallest that any table of the source declares."""
        held, due = self.query.read.credits, self.settings.currency_scale
        scale = due if held.scale is None else min(held.scale, PLACES)
        return CreditRules(scale, due, self.settings.first_drawn, held.splits)

    @property
    def meters(self) -> tuple[Meter, ...]:
        """The meters of this run: configured, with their column, with a card on some day."""
        return self.terms.meters

    def rates_hash(self, month: date) -> str:
        """A hash of all that prices the days of ``month`` that the run covers, overrides aside."""
        digest = self.settings.rate_card.digest(
            (meter.name for meter in self.meters), month, self.window.last_of(month)
        )
        return f"{digest}-{self.modes[month]}-{self.settings.tiers}-{self.settings.zero_means}"


def planned(
    connection: Connection, settings: Settings, source: Source, asked: date | Backfill | None, today: date
) -> Plan:
    """The plan of `run --date asked`, or of a backfill.

    Raises ConfigError (exit 2) for a day, a reason, a card or an override that is missing or wrong.
    """
    history, booked = runlog.history(connection, settings)
    calendar: dict[str, Any] = {
        "today": today,
        "history": history,
        "start": settings.start,
        "close_after_days": settings.close_after_days,
    }
    if not isinstance(asked, Backfill):
        plan = for_window(connection, settings, source, nightly(asked, **calendar), booked, writes=True)
        return replace(plan, covered=history.furthest or date.min)
    window = backfill(asked.since, asked.until, **calendar)
    if window.closed and not asked.reason:
        some = ", ".join(f"{month:%Y-%m}" for month in sorted(window.closed))
        raise ConfigError(f"--reason: expected why closed months ({some}) are to change, for rollup.corrections")
    plan = for_window(connection, settings, source, window, booked, writes=True)
    return replace(plan, backfill=asked)


def for_window(
    connection: Connection, settings: Settings, source: Source, window: Window, booked: Booked, *, writes: bool = False
) -> Plan:
    """The plan for given days. Raises ConfigError for a card or an override that is missing or wrong."""
    modes, notes = cost_modes(window.months, booked.modes, settings.cost)
    rated = frozenset(month for month, mode in modes.items() if mode == "rated")
    since = first_days(settings.rate_card, source.meters, window)
    held = overrides.read(connection, settings, source, window.first, window.last)
    meters = tuple(meter for meter in source.meters if meter.name in since)
    overridden = held.meters & since.keys()
    return Plan(
        settings=settings,
        window=window,
        modes=modes,
        booked=booked,
        # Rows to be written are told by their version from rows that changed since they were read.
        query=UsageQuery(settings, source, since, versions=writes and (bool(rated) or source.credits.shown)),
        terms=Terms(meters, settings.rate_card, window.first, window.last, settings.tiers, overridden),
        rules=CostRules(rated, settings.zero_means == "unpriced", source.cost_scale),
        overrides=held,
        notes=(*notes, *held.notes),
    )


def first_days(rates: RateCard, meters: tuple[Meter, ...], window: Window) -> dict[str, date]:
    """Per meter that can be priced, the first day that has a card: date.min where it holds from the start.

    Raises ConfigError where a meter that is not optional has none: a price is never zero by default.
    """
    since = {}
    for meter in meters:
        if rates.on(meter.name, window.first):
            since[meter.name] = date.min
        elif not meter.optional:
            raise ConfigError(
                f"{rates.source}: no card of {meter.name} is effective on {window.first}, the first day of the "
                f"window (to {window.last}); expected one with effective_from on or before it. Add the line, or set "
                f"start in the settings, or mark the meter optional"
            )
        elif cards := rates.between(meter.name, window.first, window.last):
            since[meter.name] = cards[0].effective_from
    return since
