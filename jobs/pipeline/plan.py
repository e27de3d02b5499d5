"""What a run is going to do, decided before any usage is read: days, cost modes, prices, overrides, the query."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, timedelta
from typing import Any

from jobs.domain.backfill_request import Backfill
from jobs.domain.billing_periods import Window, backfill_window, cost_modes, first_of, nightly_window
from jobs.domain.errors import ConfigError
from jobs.domain.meters import Meter
from jobs.domain.rate_card import RateCard
from jobs.domain.rules import CostRules, PricingTerms
from jobs.pipeline.run_inputs import compare_inputs
from jobs.postgres import billing_mode_history as billing_modes
from jobs.postgres import fingerprints, price_overrides, run_log, server_clock
from jobs.postgres.connections import Connection
from jobs.postgres.fingerprints import RowFingerprint
from jobs.postgres.input_counts import InputCounts
from jobs.postgres.preflight import SourceCapabilities
from jobs.postgres.run_log import MonthRecords
from jobs.postgres.run_scope import RunScope
from jobs.postgres.usage_query import UsageQuery
from jobs.settings import Settings


@dataclass(frozen=True, slots=True)
class Plan(RunScope):
    """Everything that a batch needs to know, besides its users. ``notes``: what a person should know;
    ``counts``: of accounts and overrides, now and before."""

    notes: tuple[str, ...] = ()
    backfill: Backfill | None = None
    counts: InputCounts = field(default_factory=InputCounts)

    @property
    def keeps_changes(self) -> bool:
        """Whether every row to be written is listed, for a plan that is shown or compared."""
        return self.backfill is not None

    @property
    def kind(self) -> str:
        """Of the run, in rollup.runs."""
        return "run" if self.backfill is None else "backfill"

    @property
    def reason(self) -> str | None:
        return None if self.backfill is None else self.backfill.reason


def make_plan(
    connection: Connection, settings: Settings, source: SourceCapabilities, asked: date | Backfill | None, today: date
) -> Plan:
    """The plan of `run --date asked`, or of a backfill; ``today`` on the server's clock.

    Raises ConfigError (exit 2) for a day, a reason, a setting, a card or an override that is missing or wrong.
    """
    notes = [
        *server_clock.notes(connection),
        *compare_inputs(connection, settings),
        *billing_modes.unknown_modes(connection, settings, source.credits),
    ]
    history, months = run_log.history(connection, settings, today)
    calendar: dict[str, Any] = {
        "today": today,
        "history": history,
        "start": settings.start,
        "close_after_days": settings.close_after_days,
    }
    if not isinstance(asked, Backfill):
        window = nightly_window(asked, **calendar)
        made = for_window(connection, settings, source, window, months)
        more = covers_more(window, asked or today - timedelta(days=1))
        return replace(made, notes=(*notes, *more, *made.notes))
    window = backfill_window(asked.since, asked.until, **calendar)
    if window.closed and not asked.reason:
        some = ", ".join(f"{month:%Y-%m}" for month in sorted(window.closed))
        raise ConfigError(f"--reason: expected why closed months ({some}) are to change, for rollup.corrections")
    made = for_window(connection, settings, source, window, months)
    return replace(made, notes=(*notes, *computes_more(window, asked), *made.notes), backfill=asked)


def covers_more(window: Window, asked: date) -> list[str]:
    """What to say where a run covers later days than ``asked``."""
    if window.last <= asked:
        return []
    return [
        f"asked for the days up to {asked}; this run covers those up to {window.last}, because an earlier run has "
        "covered them: days that are covered stay covered"
    ]


def computes_more(window: Window, asked: Backfill) -> list[str]:
    """What to say where a backfill computes months of which no day was asked for: the other open ones."""
    more = [f"{month:%Y-%m}" for month in window.months if not first_of(asked.since) <= month <= asked.until]
    if not more:
        return []
    return [
        f"asked for {asked.since} to {asked.until}; {', '.join(more)} computed too: an open month was asked for, and "
        "all open months draw on the same credits"
    ]


def for_window(
    connection: Connection, settings: Settings, source: SourceCapabilities, window: Window, months: MonthRecords
) -> Plan:
    """The plan for given days. Raises ConfigError for a card or an override that is missing or wrong."""
    modes, notes = cost_modes(window.months, months.modes, settings.cost)
    rated = frozenset(month for month, mode in modes.items() if mode == "rated")
    notes += currency_notes(window.months, months.currencies, settings.currency)
    since = first_days(settings.rate_card, source.meters, window)
    overrides = price_overrides.read_overrides(connection, settings, source, window.first, window.last)
    meters = tuple(meter for meter in source.meters if meter.name in since)
    covered = {month: row_fingerprint(source, rated=month in rated) for month in window.months}
    return Plan(
        settings=settings,
        window=window,
        modes=modes,
        months=months,
        query=usage_query(settings, source, since, covered, rated),
        fingerprints=covered,
        terms=PricingTerms(
            meters, settings.rate_card, window.first, window.last, settings.tiers, overrides.meters & since.keys()
        ),
        rules=CostRules(rated, settings.zero_means == "unpriced", source.cost_scale),
        overrides=overrides,
        modes_from=None,
        adopts=False,
        rows_by_index=source.rows_by_index,
        has_user_days=run_log.has_user_days(connection, settings, window),
        new_months=run_log.new_months(connection, settings, window.months),
        notes=(*notes, *overrides.notes, *_without_effect(overrides.meters - since.keys())),
    )


def currency_notes(months: Sequence[date], kept: Mapping[date, str | None], setting: str) -> list[str]:
    """What to say of months that keep another currency than the setting says."""
    return [
        f"{month:%Y-%m} keeps currency = {currency!r}, that of its first run; the setting {setting!r} holds from the "
        "first month not yet covered"
        for month in months
        if (currency := kept.get(month)) not in (None, setting)
    ]


def _without_effect(left_out: Collection[str]) -> Iterator[str]:
    """What to say of meters that somebody has a price override of, and that are not priced."""
    for meter in sorted(left_out):
        yield (
            f"price overrides of {meter} have no effect: this optional meter is left out, because its column or its "
            "card is missing on every day"
        )


def row_fingerprint(source: SourceCapabilities, *, rated: bool) -> RowFingerprint:
    """What decides what a row of a recorded or a ``rated`` month costs. Every meter that has a column, whether it has
    a price or not: a price that comes later must not make all fingerprints worthless."""
    meters = sorted(source.meters, key=lambda meter: meter.name)
    inputs = tuple((meter.column, source.types[meter.column]) for meter in meters)
    return RowFingerprint(inputs, recorded=not rated, reported=source.credits.reported)


def usage_query(
    settings: Settings,
    source: SourceCapabilities,
    since: dict[str, date],
    covered: dict[date, RowFingerprint],
    rated: frozenset[date],
) -> UsageQuery:
    """The query that reads usage, with the fingerprints of its rows."""
    written = fingerprints.written_columns(rated, shows_credits=source.credits.shown)
    return UsageQuery(settings, source, since, rated, fingerprints.usage_hash(covered), written)


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
