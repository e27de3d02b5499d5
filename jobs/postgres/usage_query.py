"""The query that reads usage_daily: which columns, how they are rounded, which rows.

Both readers send the same text; values cannot be bound in it (connectorx cannot), so literals are composed.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import LiteralString

from psycopg import sql

from jobs.domain.billing_periods import month_spans
from jobs.domain.fixed_point import ONE
from jobs.domain.meters import Meter
from jobs.postgres.preflight import SourceCapabilities
from jobs.postgres.sql_loader import app_table, compose, in_spans, job_table, text_array
from jobs.settings import Settings


def deducted() -> sql.Composed:
    """credits_deducted in units of 10^-10, as a bigint; null, which equals no target, where it cannot be ours."""
    return _written("coalesce(credits_deducted, 0)")


def _written(value: LiteralString) -> sql.Composed:
    """What the job writes itself, in units of 10^-10; null where it is null, no number, or too large for a bigint."""
    return sql.SQL("CASE WHEN {0} > -9e8 AND {0} < 9e8 THEN ({0}::numeric * {1})::bigint END").format(
        sql.SQL(value), ONE
    )


@dataclass(frozen=True, slots=True)
class UsageQuery:
    """What to read of usage_daily for a window.

    ``since``: per meter the first day with a card: before it an optional meter is left out, read as 0 and not
    judged. ``rated``: the months whose total_cost is ours, and not judged. ``usage_hash``, ``written_hash``: the
    fingerprints of a row, as SQL (jobs.postgres.fingerprints).
    """

    settings: Settings
    read: SourceCapabilities
    since: Mapping[str, date]
    rated: frozenset[date]
    usage_hash: sql.Composable
    written_hash: sql.Composable

    @property
    def meters(self) -> tuple[Meter, ...]:
        return tuple(meter for meter in self.read.meters if meter.name in self.since)

    def days(self, spans: Collection[tuple[date, date]]) -> sql.Composed:
        """The rows of the days of ``spans``: one statement, so that all of them are of one moment."""
        return self.where(in_spans("date", spans))

    def of_users(self, users: Collection[str], spans: Collection[tuple[date, date]]) -> sql.Composed:
        """The rows of some users on the days of ``spans``."""
        return self.where(sql.SQL("user_id = ANY({}) AND {}").format(text_array(users), in_spans("date", spans)))

    def where(self, rows: sql.Composable) -> sql.Composed:
        """The rows for which a condition holds."""
        numbers = self.numbers()
        fields = {name: numbers.pop(name) for name in ("recorded", "deducted")}
        quantities = [sql.SQL("{} AS {}").format(value, sql.Identifier(name)) for name, value in numbers.items()]
        return compose(
            "usage.read",
            **fields,
            reported=sql.SQL("CASE WHEN {} THEN 1::bigint ELSE 0 END").format(self.reported),
            usage_hash=self.usage_hash,
            written_hash=self.written_hash,
            quantities=sql.SQL(",\n  ").join(quantities),
            usage=app_table(self.settings, "usage_daily"),
            filter=rows,
        )

    def numbers(self) -> dict[str, sql.Composed]:
        """By column of the frame the bigint that it is read as; null: there is none, -1: it cannot be taken."""
        cost = sql.Identifier("total_cost")
        units = self._units(cost, sql.SQL("({} * {})::bigint").format(cost, ONE))
        recorded = sql.SQL("CASE {} WHEN {} IS NOT NULL THEN -1 END").format(units, cost)
        if self.rated:
            days = in_spans("date", month_spans(sorted(self.rated)))
            recorded = sql.SQL("CASE WHEN {} THEN {} ELSE {} END").format(days, _written("total_cost"), recorded)
        shown = deducted() if self.read.credits.deducted else sql.SQL("0::bigint").format()
        return {"recorded": recorded, "deducted": shown} | {m.name: self._quantity(m) for m in self.meters}

    @property
    def reported(self) -> sql.SQL:
        """Whether a row was invoiced already, as a condition."""
        return sql.SQL("reported_to_stripe" if self.read.credits.reported else "false")

    def _quantity(self, meter: Meter) -> sql.Composed:
        column, since = sql.Identifier(meter.column), self.since[meter.name]
        before = sql.SQL("WHEN date < {} THEN 0").format(since) if since > date.min else sql.SQL("").format()
        units = self._units(column, self._exact(meter, column))
        return sql.SQL("CASE {} {} WHEN {} IS NULL THEN 0 ELSE -1 END").format(before, units, column)

    def _exact(self, meter: Meter, column: sql.Identifier) -> sql.Composed:
        """A quantity in units of 10^-10, before it is rounded to a whole number of them."""
        if meter.name in self.read.integers:
            return sql.SQL("{}::bigint * {}").format(column, ONE)
        # The shortest decimal that stands for the binary number: what whoever wrote it meant.
        value = sql.SQL("{}::text::numeric" if meter.name in self.read.binaries else "{}").format(column)
        return sql.SQL("({} * {})::bigint").format(value, ONE)

    def _units(self, column: sql.Identifier, units: sql.Composed) -> sql.Composed:
        # NaN and Infinity compare as greater than any number, so the bound catches both. A cast to bigint rounds as
        # round() does: half away from zero.
        most = sql.Literal(self.settings.max_quantity)
        inside = sql.SQL("{} >= 0 AND {} <= {}").format(column, column, most)
        return sql.SQL("WHEN {} THEN {}").format(inside, units)

    def ownerless(self, spans: Collection[tuple[date, date]]) -> sql.Composed:
        """The ids of rows without a day, or on the days of ``spans`` without a user."""
        return compose("rejects.ownerless", usage=app_table(self.settings, "usage_daily"), days=in_spans("date", spans))

    def reject_rows(self) -> sql.Composed:
        """Rows that cannot be taken, as rollup.rejects keeps them."""
        return compose("rejects.reject_rows", row=self._reject_row(), usage=app_table(self.settings, "usage_daily"))

    def outdated_rejects(self, spans: Collection[tuple[date, date]]) -> sql.Composed:
        """The ids of rejects on the days of ``spans`` that rollup.rejects does not show as they are now."""
        usage, rejects = app_table(self.settings, "usage_daily"), job_table(self.settings, "rejects")
        days = in_spans("date", spans)
        return compose("rejects.outdated", rejects=rejects, usage=usage, days=days, row=self._reject_row())

    def is_priceable(self, row: Mapping[str, object]) -> bool:
        """Whether a row (as ``reject_rows`` gives it) can be priced now."""
        return self._why(row) is None

    def _reject_row(self) -> sql.Composed:
        """A row of usage_daily, ``u``, as rollup.rejects keeps it."""
        names = ["id", "user_id", "date", "hopsworks_cluster_id", "total_cost", *(m.column for m in self.meters)]
        fields = sql.SQL(", ").join(sql.Identifier("u", name) for name in dict.fromkeys(names))
        # A function takes 100 arguments at most.
        return sql.SQL("(SELECT to_jsonb(f) FROM (SELECT {}) AS f)").format(fields)

    def reason(self, row: Mapping[str, object]) -> str:
        """Why a row (as ``reject_rows`` gives it) cannot be taken: the column, its value, what was expected."""
        return self._why(row) or "the row changed while it was read: the next run takes it"

    def _why(self, row: Mapping[str, object]) -> str | None:
        if row["user_id"] is None:
            return "user_id is null: expected the user who is to pay"
        if row["date"] is None or "infinity" in str(row["date"]):
            return f"date is {row['date'] or 'null'}: expected a day"
        most = format(self.settings.max_quantity.normalize(), "f")
        is_ours = any(str(row["date"]).startswith(f"{month:%Y-%m}-") for month in self.rated)
        for name in (*(meter.column for meter in self.meters), *(() if is_ours else ("total_cost",))):
            value = row[name]
            if value is not None and not self._takeable(Decimal(str(value))):
                shown = str(value) if len(str(value)) <= len("-99999999999999999999.9999999999") else f"{value:.3e}"
                return f"{name} is {shown}: expected a number from 0 to {most}"
        return None

    def _takeable(self, value: Decimal) -> bool:
        return value.is_finite() and 0 <= value <= self.settings.max_quantity
