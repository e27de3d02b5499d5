"""Small nasty worlds for the oracle and the job: Hypothesis strategies, and what puts a world into a database.

Values that only the reading query's rounding makes good (−4e-11, 1e8 + 4e-11) are left out, and so are bad quantities
in columns whose meter may have no card: the design does not say what these get.
"""

import csv
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from itertools import product
from pathlib import Path
from typing import Any, Literal
from uuid import UUID

import psycopg
from hypothesis import strategies as st
from oracle import Card, Meter, Options, Override, Row, World, covers, days_in, next_month
from psycopg import sql

Shape = Literal["A", "B"]
Draw = Callable[[st.SearchStrategy[Any]], Any]

SEASONS = (date(2024, 1, 1), date(2023, 2, 1), date(2022, 11, 1), date(2024, 4, 1))  # first of three months
USERS = (
    "auth0|66a0f",
    "google-oauth2|1178",
    'a,"quoted"\nline\\N',
    "Ünï\t😀 'x'",
    "\\N",
    "AUTH0|66A0F",
)
HOURS = ("cpu_hours", "gpu_hours", "storage_gb")
CALLS = ("feature_store_api_calls", "model_inference_calls")
COLUMNS: dict[Shape, frozenset[str]] = {
    "A": frozenset(HOURS + CALLS),
    "B": frozenset((*HOURS, *CALLS, "instance_hours")),
}
METERS = (
    Meter("cpu_hours", "cpu_hours"),
    Meter("gpu_hours", "gpu_hours"),
    Meter("storage_gb", "storage_gb", "level"),
    Meter("feature_store_api_calls", "feature_store_api_calls"),
    Meter("model_inference_calls", "model_inference_calls"),
    Meter("instance_hours", "instance_hours", optional=True),
    Meter("memory_gb_hours", "memory_gb_hours", optional=True),
)


def decimals(*texts: str) -> st.SearchStrategy[Decimal]:
    return st.sampled_from([Decimal(text) for text in texts])


# Values: by shape, good and bad

GOOD = {
    "A": decimals(
        "0", "1", "0.5", "2.5", "9.9999999999", "10", "10.0000000001", "12", "99.5", "100", "1e-10", "4e-11",
        "5e-11", "1.00000000005", "0.00000000015", "0.3333333333", "0.0142857143", "7.123456789012345", "1e8",
    ),
    "B": decimals("0", "1", "0.50", "2.50", "9.99", "10", "10.01", "12", "99.50", "100", "0.01", "0.33",
                  "7.12", "99999999.99"),
    "calls": decimals("0", "1", "3", "7", "500", "999", "1000", "1001", "33333", "100000000"),
}  # fmt: skip
BAD = {
    "A": decimals("NaN", "Infinity", "-Infinity", "-1", "-1e-10", "100000000.0000000001"),
    "B": decimals("NaN", "-0.01", "-7"),
    "calls": decimals("-1", "100000001", "2147483647"),
}  # fmt: skip
TOTALS = {
    "A": decimals("0", "0", "4e-11", "5e-11", "0.004", "0.00333333335", "1.5", "2.675", "12345.6789", "1e8"),
    "B": decimals("0", "0", "0.01", "1.50", "2.67", "12345.68", "99999999.99"),
}


def mostly(usual: st.SearchStrategy[Any], seldom: st.SearchStrategy[Any], one_in: int = 16) -> st.SearchStrategy[Any]:
    """Seldom must be rare, so it stands in the middle of a range: Hypothesis likes the ends."""
    return st.integers(0, one_in - 1).flatmap(lambda n: seldom if n == one_in // 2 else usual)


def quantities(shape: Shape, column: str) -> st.SearchStrategy[Decimal | None]:
    kind = "calls" if column in CALLS else shape
    usual = mostly(GOOD[kind], st.sampled_from([Decimal(0), None]), 4)
    return usual if column == "instance_hours" else mostly(usual, BAD[kind], 40)


def total_costs(shape: Shape) -> st.SearchStrategy[Decimal | None]:
    return mostly(st.one_of(st.none(), TOTALS[shape], TOTALS[shape]), BAD[shape], 40)


# Days


def months(season: date) -> list[date]:
    return [season, next_month(season), next_month(next_month(season))]


def days(season: date) -> st.SearchStrategy[date]:
    """Days around the month ends, and one in the middle, where a card changes."""
    near = [-1, 0, 1, 14, 15]
    found = [month + timedelta(days=n) for month in months(season) for n in (*near, days_in(month) - 1)]
    return st.sampled_from(found)


def run_days(season: date) -> st.SearchStrategy[list[date]]:
    """Days for a sequence of runs, not in order, many beside the days on which a month closes."""
    any_day = st.integers(20, 110).map(lambda n: season + timedelta(days=n))
    firsts = [*months(season)[1:], next_month(months(season)[2])]
    closing = [first + timedelta(days=n) for first in firsts for n in (-1, 1, 2, 3, 8, 9)]
    return st.lists(st.one_of(any_day, st.sampled_from(closing)), min_size=1, max_size=4)


# Rows


def rows(
    shape: Shape, when: st.SearchStrategy[date], clusters: Sequence[UUID], users: Sequence[str]
) -> st.SearchStrategy[Row]:
    """B allows no null user, no null date and, by its foreign keys, no unknown id."""
    no_user = st.sampled_from([None, "nobody|unknown"]) if shape == "A" else st.sampled_from(users)
    no_day = st.sampled_from([None, "infinity", "-infinity"] if shape == "A" else ["infinity", "-infinity"])
    somewhere = st.sampled_from([None, *clusters])
    unknown = st.just(UUID(int=0xDEAD)) if shape == "A" else somewhere
    return st.builds(
        Row,
        id=st.uuids(),
        user_id=mostly(st.sampled_from(users), no_user, 20),
        date=mostly(when, no_day, 30),
        cluster_id=mostly(somewhere, unknown, 20),
        quantities=st.fixed_dictionaries({name: quantities(shape, name) for name in sorted(COLUMNS[shape])}),
        total_cost=total_costs(shape),
    )


def lawful(shape: Shape, candidates: Iterable[Row]) -> tuple[Row, ...]:
    """Drops what the keys of the shape forbid: an id twice; in B, a second row of a user and day."""
    kept: dict[UUID, Row] = {}
    taken = set()
    for row in candidates:
        place = (row.user_id, row.date) if shape == "B" else row.id
        if row.id not in kept and place not in taken:
            kept[row.id] = row
            taken.add(place)
    return tuple(kept.values())


# Overrides


@st.composite
def moments(draw: Draw, when: st.SearchStrategy[date]) -> datetime:
    """The midnights of a day, the instants beside them, and a moment inside it."""
    day: date = draw(when)
    tick = timedelta(microseconds=1)
    shift: timedelta = draw(st.sampled_from([0 * tick, 0 * tick, tick, -tick, timedelta(hours=13)]))
    return datetime(day.year, day.month, day.day, tzinfo=UTC) + timedelta(days=draw(st.integers(0, 1))) + shift


@st.composite
def overrides(
    draw: Draw, shape: Shape, users: Sequence[str], times: Sequence[datetime], kinds: Sequence[str]
) -> Override:
    has = draw(st.sampled_from(["price", "price", "discount", "discount", "discount", "price discount", ""]))
    price = decimals("0.05", "0", "0.0001", "0.1234", "0.14") if "price" in has else st.none()
    discount = decimals("33.33", "12.5", "66.67", "0", "100") if "discount" in has else st.none()
    return Override(
        id=draw(st.uuids()),
        user_id=draw(st.sampled_from(users)),
        resource_type=draw(st.sampled_from(kinds)),
        override_price=draw(price),
        discount_percentage=draw(discount),
        valid_from=draw(st.sampled_from(times)) if shape == "A" else None,
        valid_until=draw(st.one_of(st.none(), st.sampled_from(times))),
        created_at=draw(st.sampled_from(times)),
        active=None if shape == "A" else draw(mostly(st.just(True), st.just(False), 4)),
    )


@st.composite
def some_overrides(
    draw: Draw, shape: Shape, when: st.SearchStrategy[date], users: Sequence[str]
) -> tuple[Override, ...]:
    """Few moments and few meters, so that they overlap, and created_at or the id must decide."""
    times = [datetime(2000, 1, 1, tzinfo=UTC), *draw(st.lists(moments(when), min_size=1, max_size=4))]
    kinds = draw(st.lists(st.sampled_from((*HOURS, "api_calls")), min_size=1, max_size=3))
    size = draw(st.integers(0, 8))
    one = overrides(shape, users, times, kinds)
    return tuple(draw(st.lists(one, min_size=size, max_size=size, unique_by=lambda o: o.id)))


# Worlds


@st.composite
def worlds(draw: Draw, shape: Shape = "A", season: date = SEASONS[0], max_rows: int = 25) -> World:
    users = draw(st.lists(st.sampled_from(USERS), min_size=1, max_size=5, unique=True))
    names = st.one_of(st.sampled_from(["prod", 'a "b", c\\', "Zürich\n2"]), st.text("ab", max_size=3))
    clusters = draw(st.dictionaries(st.uuids(), names, min_size=draw(st.integers(0, 3)), max_size=3))
    few = st.sampled_from(draw(st.lists(days(season), min_size=1, max_size=6)))  # so that rows share a day
    row = rows(shape, few if shape == "A" else days(season), sorted(clusters), users)
    size = draw(st.integers(0, max_rows))
    found = draw(st.lists(row, min_size=size, max_size=size))
    mode = st.sampled_from(["prepaid", "postpaid", None])
    return World(
        rows=lawful(shape, found),
        columns=COLUMNS[shape],
        overrides=draw(some_overrides(shape, few, users)),
        clusters=clusters,
        users=frozenset(users),
        modes={user: draw(mode) for user in users},
    )


@st.composite
def edits(draw: Draw, world: World, shape: Shape = "A", season: date = SEASONS[0]) -> World:
    """The world after other programs deleted, changed, moved and inserted rows; seldom a month is emptied."""
    known = [row.date for row in world.rows if isinstance(row.date, date)]
    when = st.one_of(st.sampled_from(known), days(season)) if known else days(season)
    fresh = rows(shape, when, sorted(world.clusters), sorted(world.users))
    taken = {(row.user_id, row.date) for row in world.rows}
    after: list[Row] = []
    for row in world.rows:
        new = draw(edited(row, fresh))
        moves = new is not None and (new.user_id, new.date) != (row.user_id, row.date)
        if new is not None and moves and shape == "B" and (new.user_id, new.date) in taken:
            new = row  # a unique key is checked row by row: nobody moves to where a row of the old world stands
        after += [] if new is None else [new]
    for new in draw(st.lists(fresh, max_size=4)):
        after += [] if shape == "B" and (new.user_id, new.date) in taken else [new]
    emptied = draw(mostly(st.none(), st.sampled_from(months(season)), 12))
    after = [row for row in after if emptied is None or not covers(row, [emptied], date.max)]
    return replace(world, rows=lawful(shape, after))


@st.composite
def edited(draw: Draw, row: Row, fresh: st.SearchStrategy[Row]) -> Row | None:
    """One row afterwards, None if deleted; most stay as they are."""
    how = draw(st.sampled_from(["keep"] * 6 + ["delete", "change", "price", "user", "cluster", "day"]))
    if how in {"keep", "delete"}:
        return row if how == "keep" else None
    other: Row = draw(fresh)
    if how == "change":
        return replace(row, quantities=other.quantities)
    if how == "price":
        return replace(row, total_cost=other.total_cost)
    if how == "user":
        return replace(row, user_id=other.user_id)
    return replace(row, cluster_id=other.cluster_id) if how == "cluster" else replace(row, date=other.date)


# Options


@st.composite
def cards(draw: Draw, season: date, name: str, since: date, *, level: bool = False) -> list[Card]:
    """Graduated or flat, for 1 or 1,000 units; perhaps another from the middle of a month on."""
    found = []
    change = draw(st.sampled_from([None, month_middle(season), month_middle(next_month(season))]))
    for effective in sorted({since, change or since}):
        per = draw(st.sampled_from([1, 1000]))
        tiers = draw(st.sampled_from([("0",), ("0", "10"), ("0", "1", "10", "100"), ("0", "0.5", "1000"),
                                      ("0", "0.0000000001", "9.9999999999")]))  # fmt: skip
        rates = decimals("0.1", "0.14", "0.07", "0.0333333333", "0", "0.0000000001", "0.05")
        prices = draw(st.lists(rates, min_size=len(tiers), max_size=len(tiers), unique=True))
        for tier, rate in zip(tiers, prices, strict=True):
            price = rate * per
            found.append(Card(name, effective, Decimal(tier), price * 20 if level else price, per))
    return found


def month_middle(month: date) -> date:
    return month.replace(day=16)


@st.composite
def options(draw: Draw, shape: Shape = "A", season: date = SEASONS[0]) -> Options:
    """Required meters have a card ten years early; instance_hours perhaps, or from a mid-month on; memory none."""
    early = date(season.year - 10, 1, 1)
    found: list[Card] = []
    for name in (*HOURS, *CALLS):
        found += draw(cards(season, name, early, level=name == "storage_gb"))
    since = draw(st.sampled_from([None, early, month_middle(season)]))
    if since is not None:
        found += draw(cards(season, "instance_hours", since))
    return Options(
        meters=METERS,
        cards=tuple(found),
        cost=draw(st.sampled_from(["recorded", "rated"])),
        zero_means=draw(st.sampled_from(["unpriced", "free"])),
        tiers=draw(st.sampled_from(["day", "month"])),
        max_quantity=draw(mostly(st.just(Decimal("1e8")), decimals("100", "99999.5"), 8)),
        close_after_days=draw(mostly(st.just(3), st.sampled_from([0, 10]), 5)),
        start=draw(st.sampled_from([None, season])),
        total_cost_scale=None if shape == "A" else 2,
    )


@dataclass(frozen=True)
class Case:
    """A whole example: settings, a first world, the days of the runs; season and shape for `edits`."""

    shape: Shape
    season: date
    options: Options
    world: World
    days: tuple[date, ...]


@st.composite
def cases(draw: Draw, shape: Shape = "A", max_rows: int = 25) -> Case:
    season = draw(st.sampled_from(SEASONS))
    world = draw(worlds(shape, season, max_rows))
    return Case(shape, season, draw(options(shape, season)), world, tuple(draw(run_days(season))))


@st.composite
def ends_of_overrides(draw: Draw) -> tuple[Case, list[World]]:
    """Nights of a month in which overrides are switched off and on again, of users with usage on each day; and what the
    world was before each of them."""
    season = draw(st.sampled_from(SEASONS))
    users = USERS[: draw(st.integers(1, 2))]
    used = {name: Decimal(0) for name in COLUMNS["B"]} | {"cpu_hours": Decimal(3), "gpu_hours": Decimal(2)}
    places = list(product(users, (season + timedelta(days=n) for n in range(20))))
    world = World(
        rows=tuple(Row(UUID(int=n), user, day, None, used) for n, (user, day) in enumerate(places, start=1)),
        columns=COLUMNS["B"],
        overrides=draw(some_overrides("B", st.just(season), users)),
        users=frozenset(users),
    )
    nights = sorted(draw(st.sets(st.integers(2, 25), min_size=2, max_size=5)))
    worlds = [world]
    for _ in nights[1:]:
        switched = [replace(o, active=o.active != draw(st.booleans())) for o in worlds[-1].overrides]
        worlds.append(replace(world, overrides=tuple(switched)))
    case = Case("B", season, draw(options("B", season)), world, tuple(season + timedelta(days=n) for n in nights))
    return case, worlds


# Databases

EMPTIED = ("usage_daily", "user_pricing_overrides", "credit_transactions", "user_credits",
           "user_hopsworks_assignments", "hopsworks_clusters", "users")  # fmt: skip
FILLERS = {"uuid": UUID(int=0), "boolean": False, "jsonb": "{}", "date": date(2000, 1, 1),
           "timestamp with time zone": datetime(2000, 1, 1, tzinfo=UTC)}  # fmt: skip


def load(conn: psycopg.Connection[Any], world: World, shape: Shape) -> None:
    """Deletes what the database of that shape holds and inserts the world, in one transaction."""
    start = "valid_from" if shape == "A" else "active"
    override_columns = ["id", "user_id", "resource_type", "override_price", "discount_percentage", start,
                        "valid_until", "created_at"]  # fmt: skip
    with conn.transaction():
        for name in EMPTIED:
            if conn.execute("SELECT to_regclass(%s)", [f"public.{name}"]).fetchone() != (None,):
                conn.execute(sql.SQL("DELETE FROM public.{}").format(sql.Identifier(name)))
        modes = world.modes or {}
        insert(conn, "users", [
            {"id": user, "billing_mode": modes.get(user)} for user in sorted(world.users)
        ])  # fmt: skip
        insert(conn, "hopsworks_clusters", [
            {"id": id, "name": name} for id, name in world.clusters.items()
        ])  # fmt: skip
        insert(conn, "usage_daily", [usage(row, world) for row in world.rows])
        insert(conn, "user_pricing_overrides", [
            {column: getattr(override, column) for column in override_columns} for override in world.overrides
        ])  # fmt: skip


def apply(conn: psycopg.Connection[Any], old: World, new: World) -> None:
    """Writes only what differs in usage_daily and of overrides, in place, as a collector does; in one transaction."""
    before, after = ({row.id: row for row in world.rows} for world in (old, new))
    changed = [id for id in before if id in after and repr(before[id]) != repr(after[id])]
    with conn.transaction():
        for id in before.keys() - after.keys():
            conn.execute("DELETE FROM public.usage_daily WHERE id = %s", [id])
        for id in changed:
            values = usage(after[id], new)
            pairs = sql.SQL(", ").join(sql.SQL("{} = %s").format(sql.Identifier(name)) for name in values)
            query = sql.SQL("UPDATE public.usage_daily SET {} WHERE id = %s").format(pairs)
            conn.execute(query, [*values.values(), id])
        insert(conn, "usage_daily", [usage(row, new) for row in new.rows if row.id not in before])
        for override in {*new.overrides} - {*old.overrides}:
            text = "UPDATE user_pricing_overrides SET active = %s WHERE id = %s"
            conn.execute(text, [override.active, override.id])


def usage(row: Row, world: World) -> dict[str, Any]:
    """A row of usage_daily by column; calls as the integers that they are."""
    values: dict[str, Any] = {
        "id": row.id,
        "user_id": row.user_id,
        "date": row.date,
        "hopsworks_cluster_id": row.cluster_id,
        "total_cost": row.total_cost,
    }
    for column in sorted(world.columns):
        value = row.quantities.get(column)
        values[column] = int(value) if value is not None and column in CALLS else value
    return values


def insert(conn: psycopg.Connection[Any], table: str, records: Sequence[Mapping[str, Any]]) -> None:
    """Inserts the records; other columns that need a value get a filler, texts a different one each."""
    needed = conn.execute(
        "SELECT column_name, data_type FROM information_schema.columns WHERE table_schema = 'public'"
        " AND table_name = %s AND is_nullable = 'NO' AND column_default IS NULL AND is_generated = 'NEVER'",
        [table],
    ).fetchall()
    for number, record in enumerate(records):
        texts = {"text": f"filler {number}", "character varying": f"filler {number}"}
        values = {name: (FILLERS | texts).get(kind, 0) for name, kind in needed} | dict(record)
        query = sql.SQL("INSERT INTO public.{} ({}) VALUES ({})").format(
            sql.Identifier(table),
            sql.SQL(", ").join(map(sql.Identifier, values)),
            sql.SQL(", ").join(sql.Placeholder() * len(values)),
        )
        conn.execute(query, list(values.values()))


# Configuration


def write_config(directory: Path, options: Options, max_shrink: str = "0.2") -> Path:
    """Writes settings.toml and rates.csv; gives the path of the former."""
    lines = [f"{key} = {json.dumps(value)}" for key, value in top_level(options, max_shrink).items()]
    for meter in options.meters:
        lines += ["", f"[meters.{meter.name}]", f"column = {json.dumps(meter.column)}"]
        lines += [f'kind = "{meter.kind}"', f"optional = {json.dumps(meter.optional)}"]
    path = directory / "settings.toml"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    with (directory / "rates.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["meter", "effective_from", "tier_from", "price", "per", "reference"])
        for card in options.cards:
            price = f"{card.price:f}"
            writer.writerow([card.meter, card.effective_from, f"{card.tier_from:f}", price, card.per, "test"])
    return path


def top_level(options: Options, max_shrink: str) -> dict[str, Any]:
    found = {
        "cost": options.cost,
        "zero_means": options.zero_means,
        "tiers": options.tiers,
        "max_quantity": f"{options.max_quantity:f}",
        "close_after_days": options.close_after_days,
        "max_shrink": max_shrink,
        "rates": "rates.csv",
    }
    return found | ({"start": f"{options.start:%Y-%m}"} if options.start else {})
