"""What the nightly job must leave behind, written from the design: plain Python, exact fractions, no shared code.

`Book` is the database as the job should keep it. `Book.run(world, options, day)` is one nightly run; afterwards
its dictionaries are the expected tables. Credits are not here. Every figure is held as a Fraction and becomes a
Decimal only where a table shows it.
"""

from calendar import monthrange
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Literal, TypeVar
from uuid import UUID

PLACES = 10
ZERO = Fraction(0)
API_METERS = ("feature_store_api_calls", "model_inference_calls")  # resource_type api_calls covers both

Figures = dict[str, Decimal | int | str | None]
Item = TypeVar("Item")
Key = TypeVar("Key")


class RunRefusedError(ValueError):
    """The run must end before it reads (exit 2)."""


class ClosedMonthError(RunRefusedError):
    """`--date` lies in a closed month, or before `start` (section 3)."""


class MissingCardError(RunRefusedError):
    """A meter that is not optional has no card on the first day of the window (section 2)."""


@dataclass(frozen=True)
class Meter:
    name: str
    column: str
    kind: Literal["flow", "level"] = "flow"
    optional: bool = False


@dataclass(frozen=True)
class Card:
    """One line of rates.csv; the lines of one meter and effective_from make its tiers."""

    meter: str
    effective_from: date
    tier_from: Decimal
    price: Decimal
    per: int = 1


@dataclass(frozen=True)
class Override:
    """A row of user_pricing_overrides: with valid_from, or (the other variant) with active and created_at."""

    id: UUID
    user_id: str
    resource_type: str
    override_price: Decimal | None
    discount_percentage: Decimal | None
    valid_from: datetime | None
    valid_until: datetime | None
    created_at: datetime
    active: bool | None = None

    @property
    def start(self) -> datetime:
        return self.created_at if self.valid_from is None else self.valid_from


@dataclass(frozen=True)
class Row:
    """A row of usage_daily; quantities by column, a column that is not named holds null."""

    id: UUID
    user_id: str | None
    date: date | Literal["infinity", "-infinity"] | None
    cluster_id: UUID | None
    quantities: Mapping[str, Decimal | None]
    total_cost: Decimal | None = None


@dataclass(frozen=True)
class World:
    """What other programs wrote. columns: the quantity columns usage_daily has; modes: users' billing modes."""

    rows: tuple[Row, ...]
    columns: frozenset[str]
    overrides: tuple[Override, ...] = ()
    clusters: Mapping[UUID, str | None] = field(default_factory=dict)
    users: frozenset[str] = frozenset()
    modes: Mapping[str, str | None] | None = None


@dataclass(frozen=True)
class Options:
    """The settings; total_cost_scale is the declared scale of usage_daily.total_cost, None without one."""

    meters: tuple[Meter, ...]
    cards: tuple[Card, ...]
    cost: Literal["recorded", "rated"] = "recorded"
    zero_means: Literal["unpriced", "free"] = "unpriced"
    tiers: Literal["day", "month"] = "day"
    max_quantity: Decimal = Decimal("1e8")
    close_after_days: int = 3
    start: date | None = None
    currency_scale: int = 2
    total_cost_scale: int | None = None


@dataclass(frozen=True)
class Priced:
    """An accepted row: quantities and charges by meter (0 where the meter is left out), and its cost."""

    row: Row
    user: str
    day: date
    quantities: dict[str, Fraction]
    charges: dict[str, Fraction]
    cost: Fraction


# Numbers


def half_even(value: Fraction, places: int) -> Fraction:
    """Section 2: rounding is half to even everywhere."""
    return Fraction(round(value * 10**places), 10**places)


def as_read(value: Decimal) -> Fraction:
    """Section 7: the reading query rounds at 10 places as PostgreSQL does, half away from zero."""
    units = Fraction(value) * 10**PLACES
    whole = int(abs(units) + Fraction(1, 2))
    return Fraction(whole if units >= 0 else -whole, 10**PLACES)


def total(values: Iterable[Fraction]) -> Fraction:
    return sum(values, ZERO)


def shown(value: Fraction, places: int = PLACES) -> Decimal:
    """A Decimal of that many places, rounded half to even, free of any decimal context."""
    units = round(value * 10**places)
    return Decimal((int(units < 0), tuple(map(int, str(abs(units)))), -places))


# Days


def month_of(day: date) -> date:
    return day.replace(day=1)


def next_month(month: date) -> date:
    return month_of(month + timedelta(days=31))


def days_in(month: date) -> int:
    return monthrange(month.year, month.month)[1]


# Rejects


def is_bad(value: Decimal | None, limit: Decimal) -> bool:
    """Section 8: NaN, ±Infinity, negative, or over max_quantity; null is not bad."""
    if value is None:
        return False
    return not value.is_finite() or as_read(value) < 0 or as_read(value) > Fraction(limit)


def causes(row: Row, world: World, options: Options, mode: str) -> list[str]:
    """Section 8: why a row is rejected, nothing if it is not; each in one word.

    A meter that is left out on the day (section 2: optional, without a card) is not looked at; nor is total_cost in a
    rated month, where it is the job's own.
    """
    columns = {
        meter.column
        for meter in options.meters
        if not (meter.optional and isinstance(row.date, date) and not tiers_on(meter.name, row.date, options.cards))
    } & world.columns
    found = {
        "user": row.user_id is None,
        "date": not isinstance(row.date, date),
        "quantity": any(is_bad(row.quantities.get(column), options.max_quantity) for column in columns),
        "total_cost": mode != "rated" and is_bad(row.total_cost, options.max_quantity),
    }
    return [word for word, is_so in found.items() if is_so]


def covers(row: Row, months: Iterable[date], last: date) -> bool:
    """Section 3: a run covers the days of open months up to its last day."""
    return isinstance(row.date, date) and row.date <= last and month_of(row.date) in months


def counted(month: date, last: date, world: World) -> list[Row]:
    """Section 7: rows with a user and a day, whether they can be priced or not."""
    return [row for row in world.rows if covers(row, [month], last) and row.user_id is not None]


def accepted(month: date, last: date, world: World, options: Options, mode: str) -> list[Row]:
    return [row for row in world.rows if covers(row, [month], last) and not causes(row, world, options, mode)]


# Prices


def tiers_on(name: str, day: date, cards: Iterable[Card]) -> list[Card]:
    """Section 2: the newest effective_from on or before the day, its tiers in order; none: no card."""
    known = [card for card in cards if card.meter == name and card.effective_from <= day]
    newest = max((card.effective_from for card in known), default=None)
    return sorted((c for c in known if c.effective_from == newest), key=lambda card: card.tier_from)


def check_cards(options: Options, day: date) -> None:
    """Section 2: every meter that is not optional needs a card on the first day of the window."""
    for meter in options.meters:
        if not meter.optional and not tiers_on(meter.name, day, options.cards):
            raise MissingCardError(meter.name)


def tiered(tiers: list[Card], start: Fraction, quantity: Fraction) -> Fraction:
    """Section 2: Σ tier quantity × price ÷ per of the stretch [start, start + quantity)."""
    amount = ZERO
    for position, tier in enumerate(tiers):
        low = max(start, Fraction(tier.tier_from))
        high = start + quantity
        if position + 1 < len(tiers):
            high = min(high, Fraction(tiers[position + 1].tier_from))
        amount += max(ZERO, high - low) * Fraction(tier.price) / tier.per
    return amount


def concerns(override: Override, user: str, meter: str, day: date) -> bool:
    """Section 2: [from, until) touches that UTC day; one with neither price nor discount is ignored."""
    begin = datetime.combine(day, time.min, UTC)
    until = override.valid_until
    return (
        override.user_id == user
        and (override.resource_type == meter or (override.resource_type == "api_calls" and meter in API_METERS))
        and not (override.override_price is None and override.discount_percentage is None)
        and override.active is not False
        and override.start < begin + timedelta(days=1)
        and (until is None or (until > begin and override.start < until))
    )


def override_on(user: str, meter: str, day: date, overrides: Iterable[Override]) -> Override | None:
    """Section 2: of several the latest from, then created_at, then id."""
    fitting = [override for override in overrides if concerns(override, user, meter, day)]
    return max(fitting, key=lambda o: (o.start, o.created_at, o.id), default=None)


def charge(
    meter: Meter,
    tiers: list[Card],
    override: Override | None,
    *,
    day: date,
    start: Fraction,
    quantity: Fraction,
    by: str,
) -> Fraction:
    """Section 2: the charge of a row and meter, one exact fraction rounded once, at 10 places.

    start is the user's quantity before this row, on the day or in the month, by `tiers`. A level's price is per
    month; month-wide tiers count it in GB-months.
    """
    share = Fraction(1, days_in(day)) if meter.kind == "level" else Fraction(1)
    if override is not None and override.override_price is not None:
        exact = quantity * share * Fraction(override.override_price) / tiers[0].per
    elif by == "month":
        exact = tiered(tiers, start * share, quantity * share)
    else:
        exact = tiered(tiers, start, quantity) * share
    if override is not None and override.override_price is None:
        exact *= 1 - Fraction(override.discount_percentage or 0) / 100
    return half_even(exact, PLACES)


def row_cost(row: Row, charges: Fraction, mode: str, zero_means: str) -> Fraction:
    """Section 2: rated, the charges; recorded, total_cost where it is set."""
    if mode == "rated" or row.total_cost is None:
        return charges
    recorded = as_read(row.total_cost)
    return charges if recorded == 0 and zero_means == "unpriced" else recorded


def row_order(row: Row) -> tuple[str, bool, str, str]:
    """Section 2: date, cluster id as lower-case text with null last, row id as text."""
    return (str(row.date), row.cluster_id is None, str(row.cluster_id).lower(), str(row.id))


def price_user(rows: list[Row], world: World, options: Options, mode: str) -> list[Priced]:
    """Prices one user's accepted rows of one month, in row order."""
    before: defaultdict[tuple[str, date], Fraction] = defaultdict(Fraction)
    priced = []
    for row in sorted(rows, key=row_order):
        assert isinstance(row.date, date)
        assert row.user_id is not None
        quantities, charges = {}, {}
        for meter in options.meters:
            tiers = tiers_on(meter.name, row.date, options.cards) if meter.column in world.columns else []
            quantity = as_read(row.quantities.get(meter.column) or Decimal(0)) if tiers else ZERO
            quantities[meter.name], charges[meter.name] = quantity, ZERO
            if tiers:
                place = (meter.name, row.date if options.tiers == "day" else month_of(row.date))
                override = override_on(row.user_id, meter.name, row.date, world.overrides)
                charges[meter.name] = charge(
                    meter,
                    tiers,
                    override,
                    day=row.date,
                    start=before[place],
                    quantity=quantity,
                    by=options.tiers,
                )
                before[place] += quantity
        cost = row_cost(row, total(charges.values()), mode, options.zero_means)
        priced.append(Priced(row, row.user_id, row.date, quantities, charges, cost))
    return priced


def quantized(rows: list[Priced], scale: int | None) -> dict[UUID, Decimal]:
    """Section 2, quantize: each row of a user's month gets round(C_i) − round(C_{i−1})."""
    places = PLACES if scale is None else min(scale, PLACES)
    parts, running = {}, ZERO
    for one in rows:
        part = half_even(running + one.cost, places) - half_even(running, places)
        parts[one.row.id], running = shown(part, places), running + one.cost
    return parts


# Tables


def grouped(rows: Iterable[Item], key: Callable[[Item], Key]) -> dict[Key, list[Item]]:
    groups: dict[Key, list[Item]] = {}
    for row in rows:
        groups.setdefault(key(row), []).append(row)
    return groups


def sums(rows: list[Priced], meters: Iterable[Meter], month: date | None) -> Figures:
    """Meters, their costs, adjustment and total; for a month a level is Σ daily ÷ days, rounded once."""
    figures: Figures = {}
    for meter in meters:
        share = Fraction(1, days_in(month)) if month and meter.kind == "level" else Fraction(1)
        figures[meter.name] = shown(share * total(row.quantities[meter.name] for row in rows))
        figures[f"{meter.name}_cost"] = shown(total(row.charges[meter.name] for row in rows))
        if month and meter.kind == "level":
            figures[f"{meter.name}_days"] = shown(total(row.quantities[meter.name] for row in rows))
    figures["adjustment_cost"] = shown(total(row.cost - total(row.charges.values()) for row in rows))
    figures["total_cost"] = shown(total(row.cost for row in rows))
    return figures


def distinct_users(rows: Iterable[Priced]) -> int:
    return len({row.user for row in rows})


@dataclass
class Month:
    """A row of rollup.months; row_count counts rows with a user and a day, rejected or not."""

    cost_mode: str
    closed: bool
    row_count: int
    total_cost: Decimal


@dataclass
class Book:
    """The tables of section 5 after a sequence of runs; `priced` and `total_cost_written` are the last run's."""

    user_daily: dict[tuple[date, str, UUID | None], Figures] = field(default_factory=dict)
    user_monthly: dict[tuple[date, str], Figures] = field(default_factory=dict)
    cluster_daily: dict[tuple[date, UUID | None], Figures] = field(default_factory=dict)
    cluster_monthly: dict[tuple[date, UUID | None], Figures] = field(default_factory=dict)
    rejects: dict[UUID, str] = field(default_factory=dict)
    months: dict[date, Month] = field(default_factory=dict)
    total_cost_written: dict[UUID, Decimal] = field(default_factory=dict)
    priced: dict[UUID, Priced] = field(default_factory=dict)
    first_day: date | None = None
    last_day: date | None = None
    reject_months: dict[UUID, date | None] = field(default_factory=dict)
    seen_active: dict[UUID, date] = field(default_factory=dict)

    def run(self, world: World, options: Options, day: date) -> None:
        """One nightly run for that day: reads, prices, rolls up, closes."""
        covered, last = self.window(options, day), max(day, self.last_day or day)
        check_cards(options, covered[0])
        self.first_day = self.first_day or day
        self.cover(world, options, covered, last)

    def backfill(self, world: World, options: Options, since: date, until: date, yesterday: date) -> list[list[date]]:
        """One backfill of the whole months that these days touch; the draw windows, in their order."""
        closed, still_open, last = self.backfill_window(options, since, until, yesterday)
        check_cards(options, [*closed, *still_open][0])
        self.cover(world, options, [*closed, *still_open], last, frozenset(closed))
        return [*([month] for month in closed), *([still_open] if still_open else [])]

    def backfill_window(
        self, options: Options, since: date, until: date, yesterday: date
    ) -> tuple[list[date], list[date], date]:
        """Section 3: the closed months named; if an open one is named all open ones, up to yesterday; the last day."""
        touched = [month_of(since)]
        while next_month(touched[-1]) <= until:
            touched.append(next_month(touched[-1]))
        first = month_of(options.start or month_of(self.first_day or yesterday) - timedelta(days=1))
        closed = [m for m in touched if m < first or (m in self.months and self.months[m].closed)]
        if len(closed) == len(touched):
            return closed, [], min(next_month(touched[-1]) - timedelta(days=1), yesterday)
        last, month, still_open = max(yesterday, self.last_day or yesterday), first, []
        while month <= last:
            if month not in self.months or not self.months[month].closed:
                still_open.append(month)
            month = next_month(month)
        return closed, still_open, last

    def cover(
        self, world: World, options: Options, covered: list[date], last: date, closed: frozenset[date] = frozenset()
    ) -> None:
        """Prices and rolls up whole months, up to a day; of ``closed`` ones nothing closes that has not."""
        self.last_day = max(last, self.last_day or last)
        self.seen_active |= {o.id: self.last_day for o in world.overrides if o.active}
        world = replace(world, overrides=tuple(self.in_force(world.overrides)))
        self.priced, self.total_cost_written = {}, {}
        self.book_rejects(world, options, covered, last)
        for month in covered:
            known = self.months.get(month)
            mode = known.cost_mode if known else options.cost
            rows = self.price_month(accepted(month, last, world, options, mode), mode, world, options)
            closes = last + timedelta(days=1) >= next_month(month) + timedelta(days=options.close_after_days)
            if month in closed:
                closes = known is not None and known.closed
            all_rows = counted(month, last, world)
            self.months[month] = Month(mode, closes, len(all_rows), shown(total(row.cost for row in rows)))
            self.roll_up(month, rows, all_rows, world, options)

    def in_force(self, overrides: Iterable[Override]) -> Iterator[Override]:
        """Overrides end: one that is not active any more holds to the last covered day on which it was; one that was
        never seen active was never in force."""
        for override in overrides:
            if override.active is not False:
                yield override
            elif override.id in self.seen_active:
                after = datetime.combine(self.seen_active[override.id], time.min, UTC) + timedelta(days=1)
                until = after if override.valid_until is None else min(after, override.valid_until)
                yield replace(override, active=True, valid_until=until)

    def window(self, options: Options, day: date) -> list[date]:
        """Section 3: all open months from start to the last day; a day in a closed month is refused."""
        first = self.first_day or day
        month = month_of(options.start or month_of(first) - timedelta(days=1))
        last = max(day, self.last_day or day)
        covered = []
        while month <= last:
            if month not in self.months or not self.months[month].closed:
                covered.append(month)
            month = next_month(month)
        if month_of(day) not in covered:
            raise ClosedMonthError(day.isoformat())
        return covered

    def book_rejects(self, world: World, options: Options, covered: list[date], last: date) -> None:
        """Section 8: rejects of the days covered and of no day are told anew; those of closed months stay."""
        stay = {id for id, month in self.reject_months.items() if month is not None and month not in covered}
        for row in world.rows:
            month = month_of(row.date) if isinstance(row.date, date) else None
            if month is not None and not covers(row, covered, last):
                continue
            stay.discard(row.id)
            mode = self.months[month].cost_mode if month in self.months else options.cost
            if found := causes(row, world, options, mode):
                stay.add(row.id)
                self.rejects[row.id], self.reject_months[row.id] = found[0], month
        self.rejects = {id: word for id, word in self.rejects.items() if id in stay}
        self.reject_months = {id: month for id, month in self.reject_months.items() if id in stay}

    def price_month(self, rows: list[Row], mode: str, world: World, options: Options) -> list[Priced]:
        """Prices a month user by user; in a rated month also what total_cost must become."""
        priced = []
        for mine in grouped(rows, lambda row: row.user_id).values():
            of_user = price_user(mine, world, options, mode)
            if mode == "rated":
                self.total_cost_written |= quantized(of_user, options.total_cost_scale)
            priced += of_user
        self.priced |= {one.row.id: one for one in priced}
        return priced

    def roll_up(self, month: date, rows: list[Priced], every: list[Row], world: World, options: Options) -> None:
        """Section 6: replaces what the four tables hold of the month. Rejected rows alone make a row of zeros."""
        self.user_daily = {key: old for key, old in self.user_daily.items() if month_of(key[0]) != month}
        self.user_monthly = {key: old for key, old in self.user_monthly.items() if key[0] != month}
        self.cluster_daily = {key: old for key, old in self.cluster_daily.items() if month_of(key[0]) != month}
        self.cluster_monthly = {key: old for key, old in self.cluster_monthly.items() if key[0] != month}
        for user, all_rows in grouped(every, lambda row: row.user_id or "").items():
            mine = [row for row in rows if row.user == user]
            self.user_monthly[month, user] = user_figures(user, mine, month, world, options)
            self.user_monthly[month, user]["row_count"] = len(all_rows)
        for (day, user, cluster), mine in grouped(rows, lambda row: (row.day, row.user, row.row.cluster_id)).items():
            self.user_daily[day, user, cluster] = sums(mine, options.meters, None)
        for (day, cluster), mine in grouped(rows, lambda row: (row.day, row.row.cluster_id)).items():
            name = world.clusters.get(cluster) if cluster else None
            self.cluster_daily[day, cluster] = {"cluster_name": name, "users": distinct_users(mine)}
            self.cluster_daily[day, cluster] |= sums(mine, options.meters, None)
        for cluster, mine in grouped(rows, lambda row: row.row.cluster_id).items():
            name = world.clusters.get(cluster) if cluster else None
            self.cluster_monthly[month, cluster] = cluster_month(name, mine, month, options)

    def brakes(self, world: World, options: Options, day: date, shrink: Fraction = Fraction(1, 5)) -> set[date]:
        """Law 8: the months for which the run must end with exit 5 and write nothing. Changes nothing itself."""
        last, found = max(day, self.last_day or day), set()
        for month in set(self.window(options, day)) & set(self.months):
            rows = counted(month, last, world)
            users = {user for booked, user in self.user_monthly if booked == month}
            pairs = (
                (self.months[month].row_count, len(rows)),
                (len(users), len({row.user_id for row in rows})),
            )
            shrunk = any(old - new > 100 and old - new > shrink * old for old, new in pairs)
            if shrunk or (self.months[month].row_count > 0 and not rows):
                found.add(month)
        return found

    def written(self, world: World) -> World:
        """The world after the last run: total_cost rewritten where, as read, it differs (rated months)."""
        rows = []
        for row in world.rows:
            new = self.total_cost_written.get(row.id)
            old = row.total_cost
            same = new is None or (old is not None and old.is_finite() and as_read(old) == Fraction(new))
            rows.append(row if same else replace(row, total_cost=new))
        return replace(world, rows=tuple(rows))


def user_figures(user: str, rows: list[Priced], month: date, world: World, options: Options) -> Figures:
    """A row of rollup.user_monthly; amount_due only where the world gives billing modes."""
    figures: Figures = {"days": len({row.day for row in rows})}
    figures |= sums(rows, options.meters, month)
    if world.modes is not None:
        due = world.modes.get(user) not in ("prepaid", "free")
        figures["amount_due"] = shown(total(row.cost for row in rows if due), options.currency_scale)
    return figures


def cluster_month(name: str | None, rows: list[Priced], month: date, options: Options) -> Figures:
    """A row of rollup.cluster_monthly; cost_per_user = total ÷ active users, at 10 places."""
    active = distinct_users(rows)
    figures: Figures = {"cluster_name": name, "users": active, "active_users": active}
    figures["max_users"] = max(distinct_users(mine) for mine in grouped(rows, lambda row: row.day).values())
    figures["cost_per_user"] = shown(total(row.cost for row in rows) / active)
    return figures | sums(rows, options.meters, month)
