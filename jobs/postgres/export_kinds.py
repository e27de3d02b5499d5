"""The kinds of exports: what a row is, its key, and its columns in their order, with their units."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from jobs.domain.meters import Meter, cost_of, days_of

Values = Literal["text", "date", "count", "quantity", "money", "boolean", "moment"]
CURRENCY = "currency"
"""The unit of an amount: that of its row."""


@dataclass(frozen=True, slots=True)
class ExportColumn:
    """A column of an export.

    - ``values``: what it holds; quantities and money have ten decimals
    - ``unit``: of a quantity; CURRENCY of an amount; "" where it has none
    - ``adds_up``: whether the sum over rows means anything: distinct users of two clusters may be the same
    """

    name: str
    values: Values
    unit: str = ""
    adds_up: bool = False

    @property
    def is_amount(self) -> bool:
        """Whether its values are exact decimals."""
        return self.values in ("quantity", "money")


@dataclass(frozen=True, slots=True)
class ExportKind:
    """One kind of export.

    - ``key``: the columns that identify a row, within a month
    - ``columns``: all columns, without names of users and clusters
    - ``is_grouped``: whether its rows are sums over user_daily, which months lack that were closed before it was kept
    """

    key: tuple[str, ...]
    columns: tuple[ExportColumn, ...]
    is_grouped: bool = False

    @property
    def names(self) -> list[str]:
        return [column.name for column in self.columns]


def _text(*names: str) -> list[ExportColumn]:
    return [ExportColumn(name, "text") for name in names]


def _counts(*names: str) -> list[ExportColumn]:
    return [ExportColumn(name, "count") for name in names]


def _money(*names: str) -> list[ExportColumn]:
    return [ExportColumn(name, "money", CURRENCY, adds_up=True) for name in names]


MONTH, DATE = ExportColumn("month", "date"), ExportColumn("date", "date")
CLOSED = ExportColumn("closed", "boolean")
_BY_USER = (*_text("currency", "billing_mode"), CLOSED)
_BY_ALL = (*_text("currency"), CLOSED)
_PAID = ("credits_free", "credits_purchased", "credits_deducted", "uncovered", "amount_due", "amount_reported")
_CHANGED = ("credits_deducted", "uncovered", "amount_due", "amount_reported")
_CORRECTED = ("old_total", "new_total", *(f"{when}_{name}" for name in _CHANGED for when in ("old", "new")))
NAMED = {"user_id": {"name": "user_name", "email": "user_email"}, "cluster_id": {"name": "cluster_name"}}
"""By column with ids: what else is known of them, and the name of its column in an export."""


def find_kind(by: str, meters: Sequence[Meter]) -> ExportKind:
    """Returns what ``--by by`` exports, for the configured meters."""
    sums, monthly = _usage(meters, by_month=False), _usage(meters, by_month=True)
    deducted = _money("credits_deducted")
    kinds = {
        "user": ExportKind(
            ("user_id",),
            (
                *(MONTH, *_text("user_id"), *_BY_USER, *_counts("days"), *monthly),
                *(*_money(*_PAID, "amount_free"), ExportColumn("corrections", "count", adds_up=True)),
            ),
        ),
        "cluster": ExportKind(
            ("cluster_id",),
            (
                *(MONTH, *_text("cluster_id"), *_BY_ALL, *_counts("active_users", "max_users")),
                *(*monthly, *deducted, ExportColumn("cost_per_user", "money", CURRENCY)),
            ),
        ),
        "user,cluster": ExportKind(
            ("user_id", "cluster_id"),
            (MONTH, *_text("user_id", "cluster_id"), *_BY_USER, *_counts("days"), *monthly, *deducted),
            is_grouped=True,
        ),
        "day": ExportKind(("date",), (DATE, *_BY_ALL, *_counts("users"), *sums, *deducted), is_grouped=True),
        "user,day": ExportKind(
            ("date", "user_id"), (DATE, *_text("user_id"), *_BY_USER, *sums, *deducted), is_grouped=True
        ),
        "correction": ExportKind(
            ("user_id", "run_id"),
            (
                *(MONTH, *_text("user_id"), *_BY_USER, *_counts("run_id"), ExportColumn("corrected_at", "moment")),
                *(*_text("cause", "reason"), *_money("change", *_CORRECTED)),
            ),
        ),
        "draw": ExportKind(
            ("date", "user_id", "usage_daily_id", "revision"),
            (
                *(DATE, *_text("user_id", "usage_daily_id"), *_counts("revision"), *_BY_USER),
                *(*_money("free", "purchased", "drawn"), ExportColumn("imported", "boolean")),
                *(*_counts("run_id"), ExportColumn("posted_at", "moment")),
            ),
        ),
    }
    return kinds[by]


def _usage(meters: Sequence[Meter], *, by_month: bool) -> list[ExportColumn]:
    """Returns each meter and its cost. A level is in GB on a day; in a month in GB-months, and summed over days."""
    found: list[ExportColumn] = []
    for meter in meters:
        is_monthly = by_month and meter.is_level
        unit = f"{meter.unit}-months" if is_monthly and meter.unit else meter.unit
        found.append(ExportColumn(meter.name, "quantity", unit, adds_up=True))
        if is_monthly:
            days = f"{meter.unit}-days" if meter.unit else ""
            found.append(ExportColumn(days_of(meter.name), "quantity", days, adds_up=True))
        found += _money(cost_of(meter.name))
    return [*found, *_money("adjustment_cost", "total_cost")]
