"""Settings and prices of a run: those that the first run requires, and changes since the last finished run."""

from collections.abc import Mapping
from datetime import date

from jobs.domain.errors import ConfigError
from jobs.domain.rate_card import RateCard
from jobs.domain.wording import name_some
from jobs.postgres import price_overrides, run_log
from jobs.postgres.connections import Connection
from jobs.postgres.run_scope import RunScope
from jobs.settings import Settings

SHOWN = 5


def compare_settings_and_prices(connection: Connection, settings: Settings) -> list[str]:
    """Returns notes on what differs from the settings and prices of the last finished run.

    Raises ConfigError if there is no such run and ``start`` or ``rates`` is not set: nothing is billed by default.
    """
    last = run_log.read_last_done(connection, settings)
    if last is None:
        _require_start_and_rates(settings)
        return []
    run_id, before = last
    if before is None:  # a version that did not store them
        return []
    changed = _settings_changed(before["settings"], settings.inputs["settings"])
    priced = _prices_changed(before["prices"], settings.rate_card)
    return [
        f"{what} differ from those of run {run_id}: {name_some(names, SHOWN)}"
        for what, names in (("settings", changed), ("prices", priced))
        if names
    ]


def compare_overrides(connection: Connection, scope: RunScope, covered_to: date | None) -> list[str]:
    """Returns a note on users whose price overrides of covered days in open months have changed.

    ``covered_to``: the last day that a finished run has covered.
    """
    window = scope.window
    months = [month for month in window.months if month not in window.closed and covered_to and month <= covered_to]
    if covered_to is None or not months:
        return []
    # A run that did not finish may have priced some users up to its own last day.
    digests = {
        month: [scope.overrides.digests(month, min(day, window.last_of(month))) for day in (covered_to, window.last)]
        for month in months
    }
    stored = price_overrides.read_stored_hashes(connection, scope.settings, months, scope.overrides.users)
    users = sorted(
        {user for (user, month), hash_ in stored.items() if all(d.get(user) != hash_ for d in digests[month])}
    )
    if not users:
        return []
    return [
        f"price overrides of {name_some(users, SHOWN)} were added, edited or deleted after covered days were priced: "
        "the open months of these users are priced again"
    ]


def _require_start_and_rates(settings: Settings) -> None:
    is_set = {"start": settings.start is not None, "rates": settings.is_rates_set}
    if not all(is_set.values()):
        raise ConfigError(
            f"nothing is billed by default: no run has been done in this database (schema {settings.rollup_schema}); "
            "expected start and rates in the settings, or USAGE_JOBS_START and USAGE_JOBS_RATES; found no "
            f"{' and no '.join(name for name, has_value in is_set.items() if not has_value)} in {settings.source}. "
            "usage-jobs init writes settings.toml and rates.csv to start from; start is the first month to bill"
        )


def _settings_changed(before: Mapping[str, str | None], now: Mapping[str, str | None]) -> list[str]:
    names = sorted(name for name in before.keys() | now.keys() if before.get(name) != now.get(name))
    return [f"{name} = {now.get(name) or 'not set'} (was {before.get(name) or 'not set'})" for name in names]


def _prices_changed(before: Mapping[str, str], card: RateCard) -> list[str]:
    now, lines = card.listed(), card.lines()
    names = sorted(name for name in before.keys() | now.keys() if before.get(name) != now.get(name))
    return [
        f"{name} ({f'{card.source} line {lines[name]}' if name in lines else 'not there any more'})" for name in names
    ]
