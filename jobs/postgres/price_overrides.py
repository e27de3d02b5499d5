"""Reads user_pricing_overrides in either variant, judges each row, and gives the rows that pricing joins.

No polars here: a run that finds nothing changed reads overrides, too.
"""

import hashlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

from psycopg import sql
from psycopg.rows import dict_row

from jobs.domain.errors import ConfigError
from jobs.domain.fixed_point import scaled
from jobs.domain.meters import Meter
from jobs.domain.rate_card import MAX_PRICE
from jobs.postgres import server_clock
from jobs.postgres.connections import Connection
from jobs.postgres.preflight import SourceCapabilities
from jobs.postgres.sql_loader import app_table, compose, job_table
from jobs.settings import Settings

FIRST_TEN = 10
"""So many overrides of a type that no meter has are named."""


@dataclass(frozen=True, slots=True)
class Overrides:
    """``rows``: one per override and meter, with the columns of ``schemas.OVERRIDES``; ``notes``: what was ignored, and
    why; ``unanswered``: how many are of a type that no meter has; ``active``: ids of those that are in force now,
    where only ``active`` says when they end."""

    rows: tuple[Mapping[str, Any], ...]
    notes: tuple[str, ...]
    unanswered: int = 0
    active: tuple[str, ...] = ()

    @property
    def meters(self) -> frozenset[str]:
        return frozenset(row["meter"] for row in self.rows)

    @property
    def users(self) -> frozenset[str]:
        return frozenset(row["user_id"] for row in self.rows)

    def digests(self, first: date, last: date) -> dict[str, str]:
        """Per user with an override on the days ``first`` to ``last``, a stable hash of those."""
        facts: dict[str, list[tuple[Any, ...]]] = {}
        for row in sorted(self.rows, key=lambda row: (row["meter"], row["rank"])):
            since, until = row["first"] or first, row["last"] or last
            if since <= last and until >= first:
                days = (max(since, first).isoformat(), min(until, last).isoformat())
                facts.setdefault(row["user_id"], []).append((row["meter"], *days, row["price"], row["discount"]))
        return {user: hashlib.sha256(repr(held).encode()).hexdigest()[:16] for user, held in facts.items()}


def read_overrides(
    connection: Connection, settings: Settings, source: SourceCapabilities, first: date, last: date
) -> Overrides:
    """The overrides that touch ``first`` to ``last``; ConfigError naming the id of one that cannot be right."""
    if source.overrides is None:
        return Overrides((), ())
    has_active = "active" in source.overrides
    starts = [_moment(name) for name in ("valid_from", "created_at") if name in source.overrides]
    text = compose(
        "price_overrides.read",
        overrides=app_table(settings, "user_pricing_overrides"),
        overrides_seen=job_table(settings, "overrides_seen"),
        valid_until=_moment("valid_until"),
        created_at=_moment("created_at"),
        starts=sql.SQL("coalesce({}, '-infinity')").format(sql.SQL(", ").join(starts)),
        active=sql.SQL("active IS TRUE" if has_active else "true"),
    )
    # In UTC by the transaction's own time zone: a day is a UTC day.
    with connection.cursor(row_factory=dict_row) as cursor:
        latest = _latest(connection) if has_active else None
        rows = cursor.execute(text, {"first": first, "last": last, "latest": latest}).fetchall()
    active = tuple(row["id"] for row in rows if row["is_active"]) if has_active else ()
    return replace(_judged(rows, settings.meters), active=active)


def keep_seen(connection: Connection, settings: Settings, ids: Sequence[str], day: date) -> None:
    """Keeps that overrides were seen active by a run that covers ``day``, in the caller's transaction."""
    text = compose("price_overrides.keep_seen", overrides_seen=job_table(settings, "overrides_seen"))
    connection.execute(text, {"ids": list(ids), "day": day, "latest": _latest(connection)})


def _latest(connection: Connection) -> date:
    """The last day that may be covered."""
    return server_clock.today(connection) - timedelta(days=1)


def stored_hashes(
    connection: Connection, settings: Settings, months: Sequence[date], users: Collection[str]
) -> dict[tuple[str, date], str | None]:
    """By user and month the hash of the overrides by which it was priced: of ``users``, and of all who had any."""
    text = compose("price_overrides.hashes", user_monthly=job_table(settings, "user_monthly"))
    rows = connection.execute(text, {"months": list(months), "users": list(users)})
    return {(user, month): hash_ for user, month, hash_ in rows}


def _moment(column: str) -> sql.Composed:
    """A date or timestamp as a timestamptz; at the ends of time, where it may be no timestamp and no day of Python's,
    as an infinite one."""
    return sql.SQL(
        "CASE WHEN {0} >= '9999-01-01' THEN 'infinity' WHEN {0} < '0001-01-02' THEN '-infinity' "
        "ELSE {0}::timestamptz END"
    ).format(sql.Identifier(column))


def _judged(rows: Iterable[Mapping[str, Any]], meters: Sequence[Meter]) -> Overrides:
    types = sorted({kind for meter in meters for kind in meter.resource_types})
    covered = {kind: [meter.name for meter in meters if kind in meter.resource_types] for kind in types}
    kept: list[dict[str, Any]] = []
    notes, unanswered = [], []
    for row in rows:
        names = covered.get(row["resource_type"], [])
        price, discount = _price(row), _discount(row)
        who = f"override {row['id']}" + (f" of user {row['user_id']}" if row["user_id"] is not None else "")
        if not names:
            unanswered.append(
                f"{who} has no effect: its resource_type is {row['resource_type']!r}; expected one that a meter has: "
                f"{', '.join(types)}. Correct the row, or add the type to a meter's resource_types in the settings"
            )
        elif price is None and discount is None:
            notes.append(f"{who} ignored: it has neither override_price nor discount_percentage")
        elif row["user_id"] is None:
            notes.append(f"{who} ignored: its user_id is null")
        else:
            same = {key: row[key] for key in ("id", "user_id", "first", "last", "rank")}
            kept += [{**same, "meter": name, "price": price, "discount": discount} for name in names]
    named = unanswered[:FIRST_TEN]
    if more := len(unanswered) - len(named):
        named.append(f"{more:,} more overrides have no effect: no meter has their resource_type")
    return Overrides(tuple(kept), (*named, *notes), len(unanswered))


def _price(row: Mapping[str, Any]) -> int | None:
    return _units(row, "override_price", row["price"], Decimal(MAX_PRICE))


def _discount(row: Mapping[str, Any]) -> int | None:
    return _units(row, "discount_percentage", row["discount"], Decimal(100))


def _units(row: Mapping[str, Any], column: str, value: Decimal | None, most: Decimal) -> int | None:
    if value is None:
        return None
    if not value.is_finite() or not 0 <= value <= most:
        raise ConfigError(
            f"user_pricing_overrides id {row['id']} (user {row['user_id']}): {column} = {value}: expected a number "
            f"from 0 to {most}. Correct the row; nothing was read or written"
        )
    return scaled(value)
