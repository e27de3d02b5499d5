"""Reads user_pricing_overrides (both variants), validates each row, and returns the rows that pricing joins.

No polars here: a run that finds nothing changed reads overrides, too.
"""

import hashlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

from psycopg import sql

from jobs.domain.errors import ConfigError
from jobs.domain.fixed_point import scaled
from jobs.domain.meters import Meter
from jobs.domain.rate_card import MAX_PRICE
from jobs.postgres import server_clock
from jobs.postgres.connections import Connection, read_dicts
from jobs.postgres.source_capabilities import SourceCapabilities
from jobs.postgres.sql_loader import compose, join_columns
from jobs.settings import Settings

FIRST_TEN = 10
"""How many overrides of a type that no meter has are named in notes."""
TIMESTAMP = (
    "CASE WHEN {0} >= '9999-01-01' THEN 'infinity' WHEN {0} < '0001-01-02' THEN '-infinity' ELSE {0}::timestamptz END"
)
"""A date or timestamp column as a timestamptz expression; years before 1 or after 9998, which Python or a timestamp may
not represent, become infinite."""


@dataclass(frozen=True, slots=True)
class Overrides:
    """The price overrides of a window.

    - ``rows``: one per override and meter, with the columns of ``schemas.OVERRIDES``
    - ``notes``: which overrides were ignored, and why
    - ``without_meter``: how many overrides are of a type that no meter has
    - ``active``: ids of the overrides that are active now, where the table has a column `active`
    """

    rows: tuple[Mapping[str, Any], ...]
    notes: tuple[str, ...]
    without_meter: int = 0
    active: tuple[str, ...] = ()

    @property
    def meters(self) -> frozenset[str]:
        return frozenset(row["meter"] for row in self.rows)

    @property
    def users(self) -> frozenset[str]:
        return frozenset(row["user_id"] for row in self.rows)

    def digests(self, first: date, last: date) -> dict[str, str]:
        """Returns by user a stable hash of the overrides on the days ``first`` to ``last``."""
        facts: dict[str, list[tuple[Any, ...]]] = {}
        for row in sorted(self.rows, key=lambda row: (row["meter"], row["rank"])):
            since, until = row["first"] or first, row["last"] or last
            if since <= last and until >= first:
                days = (max(since, first).isoformat(), min(until, last).isoformat())
                facts.setdefault(row["user_id"], []).append((row["meter"], *days, row["price"], row["discount"]))
        return {user: hashlib.sha256(repr(found).encode()).hexdigest()[:16] for user, found in facts.items()}


def read_overrides(
    connection: Connection, settings: Settings, source: SourceCapabilities, first: date, last: date
) -> Overrides:
    """Returns the overrides of the days ``first`` to ``last``. Raises ConfigError with the id of an invalid one."""
    if source.overrides is None:
        return Overrides((), ())
    has_active = "active" in source.overrides
    starts = [name for name in ("valid_from", "created_at") if name in source.overrides]
    text = compose(
        "price_overrides.of_days",
        settings,
        valid_until=join_columns(TIMESTAMP, ["valid_until"]),
        created_at=join_columns(TIMESTAMP, ["created_at"]),
        # The two variants of the table have different columns.
        starts=sql.SQL("coalesce({}, '-infinity')").format(join_columns(TIMESTAMP, starts)),
        active=sql.SQL("active IS TRUE" if has_active else "true"),
    )
    # The transaction's time zone is UTC, so a day is a UTC day.
    latest = _latest_covered_day(connection) if has_active else None
    rows = read_dicts(connection, text, first=first, last=last, latest=latest)
    active = tuple(row["id"] for row in rows if row["is_active"]) if has_active else ()
    return replace(_parse_overrides(rows, settings.meters), active=active)


def record_seen(connection: Connection, settings: Settings, ids: Sequence[str], day: date) -> None:
    """Stores that a run that covers ``day`` has seen the overrides ``ids`` active, in the caller's transaction."""
    text = compose("price_overrides.record_seen", settings)
    connection.execute(text, {"ids": list(ids), "day": day, "latest": _latest_covered_day(connection)})


def _latest_covered_day(connection: Connection) -> date:
    """Returns the last day that a run may cover: yesterday."""
    return server_clock.today(connection) - timedelta(days=1)


def read_stored_hashes(
    connection: Connection, settings: Settings, months: Sequence[date], users: Collection[str]
) -> dict[tuple[str, date], str | None]:
    """Returns by user and month the stored hash of its overrides: of ``users``, and of all users who had overrides."""
    text = compose("price_overrides.hashes", settings)
    rows = connection.execute(text, {"months": list(months), "users": list(users)})
    return {(user, month): hash_ for user, month, hash_ in rows}


def _parse_overrides(rows: Iterable[Mapping[str, Any]], meters: Sequence[Meter]) -> Overrides:
    types = sorted({kind for meter in meters for kind in meter.resource_types})
    by_type = {kind: [meter.name for meter in meters if kind in meter.resource_types] for kind in types}
    valid: list[dict[str, Any]] = []
    notes, without_meter = [], []
    for row in rows:
        prices = {
            "price": _to_units(row, "override_price", row["price"], Decimal(MAX_PRICE)),
            "discount": _to_units(row, "discount_percentage", row["discount"], Decimal(100)),
        }
        who = f"override {row['id']}" + (f" of user {row['user_id']}" if row["user_id"] is not None else "")
        if row["resource_type"] not in by_type:
            without_meter.append(
                f"{who} has no effect: its resource_type is {row['resource_type']!r}; expected one that a meter has: "
                f"{', '.join(types)}. Correct the row, or add the type to a meter's resource_types in the settings"
            )
        elif prices == {"price": None, "discount": None}:
            notes.append(f"{who} ignored: it has neither override_price nor discount_percentage")
        elif row["user_id"] is None:
            notes.append(f"{who} ignored: its user_id is null")
        else:
            same = {key: row[key] for key in ("id", "user_id", "first", "last", "rank")} | prices
            valid += [{**same, "meter": name} for name in by_type[row["resource_type"]]]
    named = without_meter[:FIRST_TEN]
    if more := len(without_meter) - len(named):
        named.append(f"{more:,} more overrides have no effect: no meter has their resource_type")
    return Overrides(tuple(valid), (*named, *notes), len(without_meter))


def _to_units(row: Mapping[str, Any], column: str, value: Decimal | None, most: Decimal) -> int | None:
    if value is None:
        return None
    if not value.is_finite() or not 0 <= value <= most:
        raise ConfigError(
            f"user_pricing_overrides id {row['id']} (user {row['user_id']}): {column} = {value}: expected a number "
            f"from 0 to {most}. Correct the row; nothing was read or written"
        )
    return scaled(value)
