"""The query that reads usage_daily: which columns, how they are rounded, which rows.

Both readers send the same text; values cannot be bound in it (connectorx cannot), so literals are composed.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import date
from decimal import Decimal

from psycopg import sql

from jobs.model.meters import Meter
from jobs.model.scale import ONE
from jobs.settings import Settings
from jobs.store.preflight import Source
from jobs.store.statements import source, statement

# Null, which equals no target, where the value is none of ours: it is put right.
_DEDUCTED = (
    "CASE WHEN credits_deducted IS NULL THEN 0 "
    "WHEN abs(credits_deducted) < 9e8 THEN round(credits_deducted::numeric * {})::bigint END"
)
_REPORTED = "CASE WHEN reported_to_stripe THEN 1::bigint ELSE 0 END"


@dataclass(frozen=True, slots=True)
class UsageQuery:
    """What to read of usage_daily for a window.

    ``since``: per meter the first day with a card: before it an optional meter is left out, read as 0 and not
    judged. ``versions``: whether rows will be written, so that their xmin must be known.
    """

    settings: Settings
    read: Source
    since: Mapping[str, date]
    versions: bool

    @property
    def meters(self) -> tuple[Meter, ...]:
        return tuple(meter for meter in self.read.meters if meter.name in self.since)

    def days(self, spans: Collection[tuple[date, date]]) -> sql.Composed:
        """The rows of the days of ``spans``: one statement, so that all of them are of one moment."""
        return self._select(_on_days(spans))

    def of_users(self, users: Collection[str], spans: Collection[tuple[date, date]]) -> sql.Composed:
        """The rows of some users on the days of ``spans``."""
        return self._select(sql.SQL("user_id = ANY({}) AND {}").format(sql.Literal(list(users)), _on_days(spans)))

    def _select(self, rows: sql.Composable) -> sql.Composed:
        quantities = [
            sql.SQL("{} AS {}").format(self._quantity(meter), sql.Identifier(meter.name)) for meter in self.meters
        ]
        return statement(
            "usage",
            recorded=sql.SQL("CASE WHEN total_cost IS NOT NULL THEN {} END").format(
                self._units(sql.Identifier("total_cost"))
            ),
            version=sql.SQL("xmin::text::bigint" if self.versions else "NULL::bigint"),
            deducted=sql.SQL(_DEDUCTED if self.read.credits.deducted else "0::bigint").format(ONE),
            reported=sql.SQL(_REPORTED if self.read.credits.reported else "0::bigint"),
            quantities=sql.SQL(",\n  ").join(quantities),
            usage=source(self.settings, "usage_daily"),
            filter=rows,
        )

    def _quantity(self, meter: Meter) -> sql.Composed:
        column = sql.Identifier(meter.column)
        units = self._units(column, integer=meter.name in self.read.integers)
        unread = sql.SQL("{} IS NULL").format(column)
        if self.since[meter.name] > date.min:
            unread += sql.SQL(" OR date < {}").format(self.since[meter.name])
        return sql.SQL("CASE WHEN {} THEN 0 ELSE {} END").format(unread, units)

    def _units(self, column: sql.Identifier, *, integer: bool = False) -> sql.Composed:
        # NaN and Infinity compare as greater than any number, so the bound catches both.
        most = sql.Literal(self.settings.max_quantity)
        rounded = "{}::bigint * {}" if integer else "round({} * {})::bigint"
        inside = sql.SQL("{} >= 0 AND {} <= {}").format(column, column, most)
        return sql.SQL("CASE WHEN {} THEN {} ELSE -1 END").format(inside, sql.SQL(rounded).format(column, ONE))

    def undated(self) -> sql.Composed:
        return statement("undated", usage=source(self.settings, "usage_daily"))

    def reject_rows(self) -> sql.Composed:
        names = ["id", "user_id", "date", "hopsworks_cluster_id", "total_cost", *(m.column for m in self.meters)]
        fields = [sql.SQL("{}, {}").format(sql.Literal(n), sql.Identifier(n)) for n in dict.fromkeys(names)]
        return statement("reject_rows", fields=sql.SQL(", ").join(fields), usage=source(self.settings, "usage_daily"))

    def reason(self, row: Mapping[str, object]) -> str:
        """Why a row (as ``reject_rows`` gives it) cannot be taken: the column, its value, what was expected."""
        if row["user_id"] is None:
            return "user_id is null: expected the user who is to pay"
        if row["date"] is None or "infinity" in str(row["date"]):
            return f"date is {row['date'] or 'null'}: expected a day"
        most = format(self.settings.max_quantity.normalize(), "f")
        for name in (*(meter.column for meter in self.meters), "total_cost"):
            value = row[name]
            if value is not None and not self._takeable(Decimal(str(value))):
                shown = str(value) if len(str(value)) <= len("-99999999999999999999.9999999999") else f"{value:.3e}"
                return f"{name} is {shown}: expected a number from 0 to {most}"
        return "the row changed while it was read: the next run takes it"

    def _takeable(self, value: Decimal) -> bool:
        return value.is_finite() and 0 <= value <= self.settings.max_quantity


def _on_days(spans: Collection[tuple[date, date]]) -> sql.Composed:
    days = sql.SQL(" OR ").join(sql.SQL("date BETWEEN {} AND {}").format(*span) for span in spans)
    return sql.SQL("({})").format(days)
