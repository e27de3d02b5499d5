"""The query that reads usage_daily: which columns, how they are rounded, which rows.

Both readers send the same text. connectorx cannot bind values, so they are literals; the columns depend on the
configured meters, so their expressions are composed here.
"""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from typing import LiteralString

from psycopg import sql

from jobs.domain.billing_periods import month_spans
from jobs.domain.fixed_point import ONE
from jobs.domain.meters import Meter
from jobs.domain.tables import USAGE_COLUMNS
from jobs.postgres.source_capabilities import SourceCapabilities
from jobs.postgres.sql_loader import compose, in_spans, text_array
from jobs.settings import Settings


def deducted_expression() -> sql.Composed:
    """Returns credits_deducted in units of 10^-10, as a bigint expression; null where no run can have written the
    value."""
    return _written_expression("coalesce(credits_deducted, 0)")


def _written_expression(value: LiteralString) -> sql.Composed:
    """Returns a value that runs write, in units of 10^-10, as a bigint expression; null where it is null, not a number,
    or too large for a bigint."""
    return sql.SQL("CASE WHEN {0} > -9e8 AND {0} < 9e8 THEN ({0}::numeric * {1})::bigint END").format(
        sql.SQL(value), ONE
    )


def _usage_columns() -> Iterator[sql.Composed]:
    """Yields each of USAGE_COLUMNS as SQL, a uuid as text: connectorx and COPY then read the same."""
    for name, (column, kind) in USAGE_COLUMNS.items():
        value = sql.SQL("{}::text" if kind == "uuid" else "{}").format(sql.Identifier(column))
        yield value + sql.SQL(" AS {}").format(sql.Identifier(name))


@dataclass(frozen=True, slots=True)
class UsageQuery:
    """What to read of usage_daily for a window.

    - ``since``: by meter the first day with a rate card; before it an optional meter is read as 0 and not validated
    - ``rated``: the months whose total_cost runs write; it is not validated as input
    - ``usage_hash``, ``written_hash``: the fingerprints of a row, as SQL (jobs.postgres.fingerprints)
    """

    settings: Settings
    source: SourceCapabilities
    since: Mapping[str, date]
    rated: frozenset[date]
    usage_hash: sql.Composable
    written_hash: sql.Composable

    @property
    def meters(self) -> tuple[Meter, ...]:
        return tuple(meter for meter in self.source.meters if meter.name in self.since)

    def rows_of_users(self, users: Collection[str], spans: Collection[tuple[date, date]]) -> sql.Composed:
        """Returns the query of the rows of ``users`` on the days of ``spans``."""
        return self.rows_where(sql.SQL("user_id = ANY({}) AND {}").format(text_array(users), in_spans("date", spans)))

    def rows_where(self, rows: sql.Composable) -> sql.Composed:
        """Returns the query of the rows that satisfy a condition."""
        credits = self.source.credits
        quantities = [sql.SQL("{} AS {}").format(self._quantity(m), sql.Identifier(m.name)) for m in self.meters]
        return compose(
            "usage.rows",
            self.settings,
            columns=sql.SQL(", ").join(_usage_columns()),
            recorded=self._recorded_cost(),
            deducted=deducted_expression() if credits.has_deducted else sql.SQL("0::bigint"),
            reported=credits.reported,
            usage_hash=self.usage_hash,
            written_hash=self.written_hash,
            quantities=sql.SQL(",\n  ").join(quantities),
            filter=rows,
        )

    def _recorded_cost(self) -> sql.Composed:
        recorded = sql.SQL("CASE {} END").format(self._valid_units("total_cost", "({0} * {1})::bigint"))
        if not self.rated:
            return recorded
        days, written = in_spans("date", month_spans(sorted(self.rated))), _written_expression("total_cost")
        return sql.SQL("CASE WHEN {} THEN {} ELSE {} END").format(days, written, recorded)

    def _quantity(self, meter: Meter) -> sql.Composed:
        since = self.since[meter.name]
        before = sql.SQL("WHEN date < {} THEN 0").format(since) if since > date.min else sql.SQL("")
        if meter.name in self.source.integers:
            units = self._valid_units(meter.column, "{0}::bigint * {1}")
        elif meter.name in self.source.binaries:
            # The shortest decimal that identifies the binary number is the value that was meant.
            units = self._valid_units(meter.column, "({0}::text::numeric * {1})::bigint")
        else:
            units = self._valid_units(meter.column, "({0} * {1})::bigint")
        return sql.SQL("CASE {} {} ELSE 0 END").format(before, units)

    def _valid_units(self, column: str, units: LiteralString) -> sql.Composed:
        """Returns the branches of a CASE: ``units`` (of 10^-10) of a valid value; -1 of one that is not valid."""
        # NaN and Infinity compare as greater than any number, so the bound catches both. A cast to bigint rounds as
        # round() does: half away from zero.
        valid = sql.SQL("WHEN {0} >= 0 AND {0} <= {1} THEN {2} WHEN {0} IS NOT NULL THEN -1")
        name = sql.Identifier(column)
        return valid.format(name, sql.Literal(self.settings.max_quantity), sql.SQL(units).format(name, ONE))
