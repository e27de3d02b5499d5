"""Sample usage for shape A: many ordinary users (the crowd), and one user for each special case (the cast).

The same arguments always give the same rows: values are computed by arithmetic, without random numbers or a clock.

The cast (`auth0|demo-tiers` and so on) is part of a sample of any size. A change inside a month (a price override, a
move to another cluster) happens in the month with most of the days; this needs at least 8 days.
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import NAMESPACE_URL, UUID, uuid5

import psycopg
from psycopg import sql

SHAPE_A, CROWD_USAGE = (Path(__file__).parent / "sql" / f"{name}.sql" for name in ("shape_a", "crowd_usage"))

Row = dict[str, object]


def _uuid(*words: object) -> UUID:
    return uuid5(NAMESPACE_URL, "usage-jobs-demo/" + "/".join(map(str, words)))


CLUSTERS = {name: _uuid("cluster", name) for name in ("demo-eu", "demo-us", "demo-gpu")}
EU, US, _ = CLUSTERS.values()
UNKNOWN_CLUSTER = _uuid("cluster", "unknown")


@dataclass(frozen=True)
class Member:
    """A user and their credit account before the first draw."""

    name: str
    mode: str | None = "postpaid"
    status: str = "active"
    granted: int | None = None
    """Free credits; None: no account."""
    purchased: int = 0

    @property
    def id(self) -> str:
        return f"auth0|demo-{self.name}"


CAST = (
    Member("tiers"),  # storage exceeds 10, 100, 1,000 and 10,000 GB
    Member("override"),  # price overrides for some days
    Member("mover"),  # moves to another cluster in the middle of a month
    Member("twice"),  # two rows a day, in two clusters; only their sum reaches the next tier
    Member("deleted", status="deleted"),
    Member("prepaid", mode="prepaid", granted=5, purchased=20),  # both run out
    Member("penny", mode="prepaid", granted=0, purchased=10),  # every day costs 0.004
    Member("recorded"),  # total_cost set, null, or 0
    Member("nowhere"),  # no cluster, or a cluster that does not exist
    Member("rejects"),  # valid rows, and one row of every invalid kind
)


@dataclass(frozen=True)
class Period:
    """The days of the sample, from ``first`` to ``last``."""

    first: date
    last: date

    @property
    def days(self) -> list[date]:
        return [self.first + timedelta(days=n) for n in range((self.last - self.first).days + 1)]

    def at(self, quarter: int) -> date:
        """The day at ``quarter``/4 of the sample's days in its main month, the month with most of the days."""
        [(main, count)] = Counter(day.replace(day=1) for day in self.days).most_common(1)
        return max(main, self.first) + timedelta(days=count * quarter // 4)


def create_tables(conn: psycopg.Connection[Any]) -> None:
    """Creates the tables of shape A in a database that has none of them."""
    conn.execute(SHAPE_A.read_bytes())


def load(conn: psycopg.Connection[Any], *, users: int, days: int, last_day: date) -> None:
    """Fills the tables of shape A with `users` users and `days` days of usage, up to `last_day`.

    The cast is always loaded completely, even if `users` is smaller.
    """
    if users < 1 or days < 1:
        raise ValueError(f"a sample needs at least 1 user and 1 day, not {users} and {days}")
    period = Period(last_day - timedelta(days=days - 1), last_day)
    crowd = max(0, users - len(CAST))
    with conn.transaction():
        _load_people(conn, [*CAST, *_crowd(crowd)], _midnight(period.first))
        _copy(conn, "user_pricing_overrides", _overrides(period))
        text = sql.SQL(CROWD_USAGE.read_text("utf-8"))
        clusters = list(CLUSTERS.values())
        conn.execute(text.format(first=period.first, last=period.last, users=crowd, clusters=clusters))
        _copy(conn, "usage_daily", (row for day in period.days for row in _cast_usage(day, period)))
        _copy(conn, "usage_daily", _rejects(period.at(2)))
        conn.execute("analyze")  # without it, the first query plans would assume empty tables


def _midnight(day: date) -> datetime:
    return datetime.combine(day, time(), UTC)


def _copy(conn: psycopg.Connection[Any], table: str, rows: Iterable[Row]) -> None:
    listed = list(rows)
    columns = sql.SQL(", ").join(map(sql.Identifier, listed[0]))
    statement = sql.SQL("copy {} ({}) from stdin").format(sql.Identifier(table), columns)
    with conn.cursor().copy(statement) as copy:
        for row in listed:
            copy.write_row(tuple(row.values()))


def _crowd(size: int) -> Iterator[Member]:
    for n in range(1, size + 1):
        status = "suspended" if n % 50 == 0 else "active"
        if n % 3 == 0:  # every fourth of these has no account
            yield Member(f"{n:05}", "prepaid", status, granted=10 if n % 12 else None, purchased=n % 7 * 20)
        else:
            yield Member(f"{n:05}", None if n % 25 == 0 else "postpaid", status)


def _load_people(conn: psycopg.Connection[Any], members: list[Member], opened: datetime) -> None:
    accounts = [member for member in members if member.granted is not None]
    _copy(conn, "hopsworks_clusters", (_cluster(name, opened) for name in CLUSTERS))
    _copy(conn, "users", (_user(member, opened) for member in members))
    _copy(conn, "user_credits", (_account(member, opened) for member in accounts))
    _copy(conn, "credit_transactions", (row for member in accounts for row in _transactions(member, opened)))


def _cluster(name: str, opened: datetime) -> Row:
    secrets = {"api_key": "never read this", "kubeconfig": "nor this"}
    state = {"max_users": 10_000, "status": "active", "created_at": opened, "updated_at": opened}
    return {"id": CLUSTERS[name], "name": name, "api_url": f"https://{name}.example.com", **secrets, **state}


def _user(member: Member, opened: datetime) -> Row:
    flags = '{"prepaid": true}' if member.mode == "prepaid" else "{}"
    address = f"{member.name}@example.com"
    row: Row = {"id": member.id, "email": address, "name": f"Demo {member.name}", "billing_mode": member.mode}
    return row | {"feature_flags": flags, "created_at": opened, "status": member.status}


def _account(member: Member, opened: datetime) -> Row:
    credits = {"total_purchased": member.purchased, "free_credits_granted": member.granted}
    return {"id": _uuid("account", member.id), "user_id": member.id, **credits, "updated_at": opened}


def _transactions(member: Member, opened: datetime) -> Iterator[Row]:
    balance = 0
    for minute, (kind, amount) in enumerate((("grant", member.granted or 0), ("purchase", member.purchased))):
        if amount:
            row: Row = {"id": _uuid(kind, member.id), "user_id": member.id, "type": kind, "amount": amount}
            amounts = {"balance_before": balance, "balance_after": balance + amount}
            yield row | amounts | {"created_at": opened + timedelta(minutes=minute)}
            balance += amount


def _overrides(period: Period) -> Iterator[Row]:
    """Price overrides for some days of a month, valid in [from, until): one that ends at noon still covers that day."""
    start, middle, end = (_midnight(period.at(quarter)) for quarter in (1, 2, 3))
    noon = timedelta(hours=12)
    terms: tuple[tuple[str, str | None, str | None, datetime, datetime], ...] = (
        ("cpu_hours", "0.0800", None, start, end),
        ("cpu_hours", "0.0625", None, middle, end + noon),  # from the middle on there are two: the later one applies
        ("gpu_hours", None, "25.00", start + noon, end + noon),
        ("api_calls", "0.0500", None, start, end),
        ("storage_gb", None, None, start, end),  # neither price nor discount: ignored, and reported
    )
    for n, (resource, price, discount, since, until) in enumerate(terms):
        row: Row = {"id": _uuid("override", n), "user_id": "auth0|demo-override", "resource_type": resource}
        prices = {"override_price": price, "discount_percentage": discount, "reason": "demo"}
        yield row | prices | {"valid_from": since, "valid_until": until, "created_at": since}


def _usage(name: str, day: date, part: int = 0, cluster: UUID | None = EU, **columns: object) -> Row:
    row: Row = {"id": _uuid("usage", name, day, part), "user_id": f"auth0|demo-{name}", "date": day}
    quantities: Row = {"cpu_hours": 0, "gpu_hours": 0, "storage_gb": 0, "total_cost": None}
    calls: Row = {"feature_store_api_calls": 0, "model_inference_calls": 0}
    collected = _midnight(day) + timedelta(hours=23, minutes=30)
    return row | quantities | calls | {"hopsworks_cluster_id": cluster, "created_at": collected} | columns


def _cast_usage(day: date, period: Period) -> Iterator[Row]:
    n = day.toordinal()
    yield _usage("tiers", day, cpu_hours=Decimal("4.25"), storage_gb=(8, 80, 800, 8_000, 80_000)[n % 5])
    yield _usage("override", day, cpu_hours=10, gpu_hours=2, storage_gb=20, model_inference_calls=2_000)
    yield _usage("mover", day, cluster=EU if day < period.at(2) else US, cpu_hours=6, storage_gb=40)
    yield _usage("twice", day, cpu_hours=3, storage_gb=60)
    yield _usage("twice", day, 1, cluster=US, gpu_hours=1, storage_gb=70)
    yield _usage("deleted", day, cpu_hours=3, feature_store_api_calls=12_345)
    yield _usage("prepaid", day, cpu_hours=Decimal("7.77"), model_inference_calls=500)
    yield _usage("penny", day, feature_store_api_calls=40)
    yield _usage("recorded", day, cpu_hours=2, total_cost=(Decimal("0.55"), None, 0)[n % 3])
    yield _usage("nowhere", day, cluster=(None, UNKNOWN_CLUSTER)[n % 2], cpu_hours=1, storage_gb=12)
    yield _usage("unknown", day, cpu_hours=1, storage_gb=None)
    yield _usage("rejects", day, cpu_hours=1)


def _rejects(day: date) -> Iterator[Row]:
    """One row of every kind that cannot be priced."""
    bad: tuple[Row, ...] = (
        {"user_id": None},
        {"date": None},
        {"date": "infinity"},
        {"cpu_hours": "NaN"},
        {"gpu_hours": "Infinity"},
        {"storage_gb": "-1"},
        {"model_inference_calls": -1},
        {"cpu_hours": "100000000.01"},
        {"total_cost": "NaN"},
        {"total_cost": "-0.01"},
    )
    for part, columns in enumerate(bad, start=1):
        yield _usage("rejects", day, part) | columns
