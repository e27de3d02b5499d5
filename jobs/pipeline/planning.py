"""The stage plan: decides the scope of a run before usage is read: days, cost modes, prices, overrides, the query."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import date, timedelta
from typing import Any

from jobs.domain.backfill_request import Backfill
from jobs.domain.billing_periods import Window, backfill_window, cost_modes, first_of, nightly_window
from jobs.domain.errors import ConfigError
from jobs.domain.meters import Meter
from jobs.domain.rate_card import RateCard
from jobs.domain.rules import CostRules, PricingTerms
from jobs.pipeline.run_inputs import compare_overrides, compare_settings_and_prices
from jobs.postgres import adoption, fingerprints, price_overrides, run_log, server_clock
from jobs.postgres import billing_mode_history as billing_modes
from jobs.postgres.connections import Connection
from jobs.postgres.fingerprints import FingerprintDefinition
from jobs.postgres.run_log import MonthRecords
from jobs.postgres.run_scope import RunScope
from jobs.postgres.source_capabilities import SourceCapabilities, count_inputs
from jobs.postgres.usage_query import UsageQuery
from jobs.settings import Settings


def make_scope(
    connection: Connection, settings: Settings, source: SourceCapabilities, asked: date | Backfill | None, today: date
) -> RunScope:
    """Returns the scope of `run --date asked`, or of a backfill.

    ``asked``: None for yesterday; ``today``: by the server's clock. Raises ConfigError (exit 2) for a day, a reason, a
    setting, a card or an override that is missing or wrong.
    """
    notes = [
        *server_clock.notes(connection),
        *compare_settings_and_prices(connection, settings),
        *billing_modes.find_unknown_modes(connection, settings, source.credits),
    ]
    history, month_records = run_log.read_history(connection, settings, today)
    calendar: dict[str, Any] = {
        "today": today,
        "history": history,
        "start": settings.start,
        "close_after_days": settings.close_after_days,
    }
    if not isinstance(asked, Backfill):
        window = nightly_window(asked, **calendar)
        scope = make_window_scope(connection, settings, source, window, month_records)
        more = describe_later_days(window, asked or today - timedelta(days=1))
        return replace(scope, notes=(*notes, *more, *scope.notes))
    window = backfill_window(asked.since, asked.until, **calendar)
    if window.closed and not asked.reason:
        some = ", ".join(f"{month:%Y-%m}" for month in sorted(window.closed))
        raise ConfigError(f"--reason: expected why closed months ({some}) are to change, for rollup.corrections")
    scope = make_window_scope(connection, settings, source, window, month_records)
    return replace(scope, notes=(*notes, *describe_other_months(window, asked), *scope.notes), backfill=asked)


def plan_run(
    connection: Connection,
    settings: Settings,
    source: SourceCapabilities,
    asked: date | Backfill | None,
    *,
    trusting: Collection[str],
    adopting: Collection[str],
) -> RunScope:
    """Returns the scope, with what only a run needs: covered days, new billing modes, adoption.

    If the run covers new days, billing modes that differ from the stored ones are valid from the last of these days.

    ``trusting``, ``adopting``: users with unexplained credits for whom the ledger, or the rows, are right.
    """
    today = server_clock.today(connection)
    scope = make_scope(connection, settings, source, asked, today)
    covered_to = run_log.read_covered_to(connection, settings, today)
    notes = (*scope.notes, *compare_overrides(connection, scope, covered_to))
    if begins_ledger := adoption.is_due(connection, settings, source.credits):
        adoption.refuse_another_deployment(connection, settings, source.credits)
    covers_new_days = covered_to is None or scope.window.last > covered_to
    return replace(
        scope,
        billing_modes_from=scope.window.last if covers_new_days else None,
        begins_ledger=begins_ledger,
        trusted_ledger_users=frozenset(trusting),
        adopted_users=frozenset(adopting),
        notes=notes,
        covered_to=covered_to,
        counts=count_inputs(connection, settings, source),
    )


def describe_later_days(window: Window, asked: date) -> list[str]:
    """Returns a note if the run covers later days than ``asked``."""
    if window.last <= asked:
        return []
    return [
        f"asked for the days up to {asked}; this run covers those up to {window.last}, because an earlier run has "
        "covered them: days that are covered stay covered"
    ]


def describe_other_months(window: Window, asked: Backfill) -> list[str]:
    """Returns a note if the backfill computes open months of which no day was asked for."""
    more = [f"{month:%Y-%m}" for month in window.months if not first_of(asked.since) <= month <= asked.until]
    if not more:
        return []
    return [
        f"asked for {asked.since} to {asked.until}; {', '.join(more)} computed too: an open month was asked for, and "
        "all open months draw on the same credits"
    ]


def make_window_scope(
    connection: Connection, settings: Settings, source: SourceCapabilities, window: Window, month_records: MonthRecords
) -> RunScope:
    """Returns the scope for the days of ``window``.

    Raises ConfigError for a card or an override that is missing or wrong.
    """
    modes, notes = cost_modes(window.months, month_records.modes, settings.cost)
    rated = frozenset(month for month, mode in modes.items() if mode == "rated")
    notes += describe_currencies(window.months, month_records.currencies, settings.currency)
    first_days = find_first_days(settings.rate_card, source.meters, window)
    overrides = price_overrides.read_overrides(connection, settings, source, window.first, window.last)
    meters = tuple(meter for meter in source.meters if meter.name in first_days)
    definitions = {month: define_fingerprint(source, rated=month in rated) for month in window.months}
    return RunScope(
        settings=settings,
        window=window,
        cost_modes=modes,
        month_records=month_records,
        query=make_usage_query(settings, source, first_days, definitions, rated),
        fingerprint_definitions=definitions,
        pricing_terms=PricingTerms(
            meters,
            settings.rate_card,
            window.first,
            window.last,
            settings.tiers,
            overrides.meters & first_days.keys(),
            overrides.rows,
        ),
        cost_rules=CostRules(rated, settings.zero_means == "unpriced", source.cost_scale),
        overrides=overrides,
        billing_modes_from=None,
        adopts=False,
        has_user_days=run_log.has_user_days(connection, settings, window),
        new_months=run_log.find_new_months(connection, settings, window.months),
        notes=(*notes, *overrides.notes, *_describe_ineffective_overrides(overrides.meters - first_days.keys())),
    )


def describe_currencies(months: Sequence[date], stored: Mapping[date, str | None], setting: str) -> list[str]:
    """Returns a note for each month whose stored currency differs from the setting."""
    return [
        f"{month:%Y-%m} keeps currency = {currency!r}, that of its first run; the setting {setting!r} holds from the "
        "first month not yet covered"
        for month in months
        if (currency := stored.get(month)) not in (None, setting)
    ]


def _describe_ineffective_overrides(left_out: Collection[str]) -> Iterator[str]:
    """Yields a note for each meter that has price overrides and is not priced."""
    for meter in sorted(left_out):
        yield (
            f"price overrides of {meter} have no effect: this optional meter is left out, because its column or its "
            "card is missing on every day"
        )


def define_fingerprint(source: SourceCapabilities, *, rated: bool) -> FingerprintDefinition:
    """Returns the columns that decide the cost of a row, of a recorded or a ``rated`` month.

    Every meter with a column is included, with or without a price. So a price that is added later does not change all
    fingerprints.
    """
    meters = sorted(source.meters, key=lambda meter: meter.name)
    inputs = tuple((meter.column, source.types[meter.column]) for meter in meters)
    return FingerprintDefinition(inputs, recorded=not rated, reported=source.credits.has_reported)


def make_usage_query(
    settings: Settings,
    source: SourceCapabilities,
    first_days: dict[str, date],
    definitions: dict[date, FingerprintDefinition],
    rated: frozenset[date],
) -> UsageQuery:
    """Returns the query that reads usage with the hashes of its rows."""
    written = fingerprints.stored_written_hash(rated, shows_credits=source.credits.writes_deducted)
    return UsageQuery(settings, source, first_days, rated, fingerprints.usage_hash(definitions), written)


def find_first_days(rates: RateCard, meters: tuple[Meter, ...], window: Window) -> dict[str, date]:
    """Returns by meter the first day with a card; date.min if the meter has one from the start of the window.

    Optional meters without a card are left out. Raises ConfigError if a required meter has none on the first day: a
    price is never zero by default.
    """
    first_days = {}
    for meter in meters:
        if rates.on(meter.name, window.first):
            first_days[meter.name] = date.min
        elif not meter.optional:
            raise ConfigError(
                f"{rates.source}: no card of {meter.name} is effective on {window.first}, the first day of the "
                f"window (to {window.last}); expected one with effective_from on or before it. Add the line, or set "
                f"start in the settings, or mark the meter optional"
            )
        elif cards := rates.between(meter.name, window.first, window.last):
            first_days[meter.name] = cards[0].effective_from
    return first_days
