"""Small worlds with credits: Hypothesis strategies for where a sequence begins and for what then happens.

Costs are so small that many quantize to 0, accounts so small that many run dry, and days lie around month ends so
that months close in mid-sequence.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any, Literal
from uuid import UUID

from credit_oracle import CreditBook, exact
from credit_values import Account, Terms
from credit_world import Others
from hypothesis import strategies as st
from oracle import Card, Meter, Options, Override, Row, month_of, next_month
from worlds import SEASONS, USERS, Draw, Shape, decimals, months, mostly

CLUSTERS: Mapping[UUID, str | None] = {UUID(int=0xA): "north", UUID(int=0xB): "south"}
METERS = (Meter("cpu_hours", "cpu_hours"), Meter("storage_gb", "storage_gb", "level"))
HOURS = {"A": decimals("0.04", "0", "0.4", "1", "7.5", "33.333", "0.0333333333", "20"),
         "B": decimals("0.04", "0", "0.40", "1", "7.50", "33.33", "20")}  # fmt: skip
STORED = decimals("0", "1", "12", "0.1", "100")
COSTS = {"A": decimals("0.004", "0.005", "0", "0.01", "1.5", "2.675"), "B": decimals("0.01", "0", "1.50", "2.68")}
AMOUNTS = {"A": decimals("0.01", "0.5", "1", "1.005", "2.5", "10"), "B": decimals("0.01", "0.50", "1", "2.50", "10")}
PRICES = decimals("0.1", "0.05", "0.2", "0.1234")
HAVING: list[dict[str, Any] | None] = [{"prepaid": True}, {"prepaid": True}, {"other": True}, {"prepaid": False},
                                       {"prepaid": None}, None]  # fmt: skip
FLAGS = st.sampled_from(HAVING)
"""users.feature_flags."""
MODES = {"A": st.sampled_from(["prepaid"] * 5 + ["postpaid", None]),
         "B": st.sampled_from(["prepaid"] * 6 + ["postpaid", "free", None])}  # fmt: skip
INDEX = st.integers(0, 199)
"""Which of the rows or users at hand, modulo their number."""


def cards(price: Decimal) -> tuple[Card, ...]:
    early = date(2000, 1, 1)
    return Card("cpu_hours", early, Decimal(0), price), Card("storage_gb", early, Decimal(0), price * 3)


def days(around: date) -> st.SearchStrategy[date]:
    """Days around the month ends of that month and the one before it, and days beside the one given."""
    near = [month + timedelta(days=n) for month in (previous(around), month_of(around)) for n in (0, 1, 14)]
    ends = [month_of(around) - timedelta(days=1), next_month(around) - timedelta(days=1), next_month(around)]
    beside = [around + timedelta(days=n) for n in (-2, -1, 0, 1)]
    return st.sampled_from([previous(around) - timedelta(days=1), *near, *ends, *beside, *beside])


def previous(day: date) -> date:
    return month_of(month_of(day) - timedelta(days=1))


@st.composite
def rows(draw: Draw, shape: Shape, around: date, users: Sequence[str]) -> Row:
    quantities = {"cpu_hours": draw(HOURS[shape]), "storage_gb": draw(mostly(st.none(), STORED, 3))}
    return Row(
        id=UUID(int=draw(st.integers(1, 2**40)) << 80),
        user_id=draw(st.sampled_from(users)),
        date=draw(days(around)),
        cluster_id=draw(st.sampled_from([None, *CLUSTERS])),
        quantities=quantities,
        total_cost=draw(st.one_of(st.none(), COSTS[shape])),
    )


@st.composite
def overrides(draw: Draw, season: date, users: Sequence[str], shape: Shape) -> Override:
    """Half price or a price of one's own on cpu_hours, from a month's beginning or from always."""
    start = datetime.combine(draw(st.sampled_from([date(2000, 1, 1), *months(season)])), datetime.min.time(), UTC)
    price = draw(st.one_of(st.none(), decimals("0.07", "0.3")))
    return Override(
        id=UUID(int=draw(st.integers(1, 2**40))),
        user_id=draw(st.sampled_from(users)),
        resource_type="cpu_hours",
        override_price=price,
        discount_percentage=None if price is not None else Decimal(50),
        valid_from=start if shape == "A" else None,
        valid_until=None,
        created_at=start,
        active=None if shape == "A" else True,
    )


@st.composite
def accounts(draw: Draw, shape: Shape, *, counts_free: bool) -> tuple[Account, dict[str, Decimal | None]]:
    """Oracle's and database's view of a new row of user_credits."""
    some = mostly(AMOUNTS[shape], st.just(Decimal(0)), 4)
    values: dict[str, Decimal | None] = {name: draw(some) for name in ("purchased", "granted")}
    values["used"] = draw(mostly(st.just(Decimal(0)), AMOUNTS[shape], 4))
    values["free_used"] = draw(mostly(st.just(Decimal(0)), AMOUNTS[shape], 4)) if counts_free else None
    numbers: dict[str, Any] = {name: None if value is None else exact(value) for name, value in values.items()}
    return Account(**numbers), values


@dataclass
class Setup:
    """Where a sequence begins. ``env`` is what the job finds in its environment.

    quiet: Hypothesis begins with the simplest example of all, for which no database is made.
    """

    shape: Shape
    season: date
    users: list[str]
    options: Options
    others: Others = field(repr=False)
    counts_free: bool
    batch_rows: int
    quiet: bool

    @property
    def env(self) -> dict[str, str]:
        terms = self.others.credits.terms
        found = {"BATCH_ROWS": str(self.batch_rows), "CURRENCY_SCALE": str(self.options.currency_scale)}
        if terms.start is not None:
            found["CREDITS__START"] = terms.start.isoformat()
        if terms.feature_flag is not None:
            found["CREDITS__FEATURE_FLAG"] = terms.feature_flag
        return {f"USAGE_JOBS_{name}": value for name, value in found.items()}


@st.composite
def choices(draw: Draw, shape: Shape, season: date) -> Options:
    cost: Literal["recorded", "rated"] = draw(st.sampled_from(["recorded", "rated"]))
    return Options(
        meters=METERS,
        cards=cards(Decimal("0.1")),
        cost=cost,
        close_after_days=draw(st.sampled_from([3, 3, 0, 10])),
        start=draw(st.sampled_from([None, season])),
        currency_scale=draw(st.sampled_from([2, 2, 2, 4])),
        total_cost_scale=None if shape == "A" else 2,
    )


@st.composite
def setups(draw: Draw, shape: Shape) -> Setup:
    """Nothing in shape A declares a scale, so that its ledger has the currency's; in B everything has two decimals."""
    season = draw(st.sampled_from(SEASONS))
    options = draw(choices(shape, season))
    terms = Terms(
        scale=options.currency_scale if shape == "A" else 2,
        start=draw(mostly(st.none(), st.sampled_from([season, season.replace(day=15)]), 4)),
        feature_flag=draw(mostly(st.none(), st.just("prepaid"), 4)),
    )
    size = draw(st.sampled_from([2, 2, 3, 4]))
    users = draw(st.lists(st.sampled_from(USERS), min_size=size, max_size=size, unique=True))
    counts_free = shape == "A" or draw(st.sampled_from([True, True, False]))
    others = Others(shape, CreditBook(terms), CLUSTERS)
    batch_rows = draw(st.sampled_from([1_000_000] * 7 + [3, 3, 1]))
    quiet = draw(st.integers(0, 2**32)) == 0
    made = Setup(shape, season, users, options, others, counts_free, batch_rows, quiet)
    draw(peopled(made))
    draw(used(made))
    return made


@st.composite
def peopled(draw: Draw, made: Setup) -> None:
    """Most users have an account; in shape A one may be missing in users."""
    for number, user in enumerate(made.users):
        if made.shape == "B" or number != 1 or draw(st.booleans()):
            made.others.set_user(user, draw(MODES[made.shape]), draw(FLAGS))
        if number == 0 or draw(mostly(st.just(True), st.just(False), 6)):
            made.others.open_account(user, *draw(accounts(made.shape, counts_free=made.counts_free)))
    for cluster, name in made.others.clusters.items():
        made.others.insert("hopsworks_clusters", {"id": cluster, "name": name})


@st.composite
def used(draw: Draw, made: Setup) -> None:
    """The first rows; in one sequence of four something else has drawn on some of them already."""
    drawn_before = draw(mostly(st.just(False), st.just(True), 4))
    one = rows(made.shape, next_month(made.season), made.users)
    for row in draw(st.lists(one, min_size=0 if made.quiet else 8, max_size=16)):
        before = None
        if drawn_before and row.user_id in made.others.credits.accounts:
            before = draw(st.one_of(st.none(), decimals("0.01", "0.50", "1")))
        if row.id not in made.others.rows:
            made.others.put(row, before)
