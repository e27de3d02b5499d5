"""A roll-up table is made to hold what it should: only rows that differ are written."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

import polars as pl

from jobs.domain.fixed_point_columns import int128
from jobs.domain.meters import cost_of, days_of
from jobs.postgres import rollup_io
from jobs.postgres.connections import Connection
from jobs.postgres.run_scope import RunScope
from jobs.postgres.schema import Table
from jobs.rollups.changes import difference, list_replaced


@dataclass(frozen=True, slots=True)
class TableDiff:
    """Of one table: whole rows to be put in, keys of rows that go, and the rows that are ``stored``."""

    table: Table
    put: pl.DataFrame
    gone: pl.DataFrame
    stored: pl.DataFrame

    @classmethod
    def of(cls, table: Table, target: pl.DataFrame, stored: pl.DataFrame) -> "TableDiff":
        found = difference(target.lazy(), stored.lazy(), table.key)
        put, gone = pl.collect_all([found.put, found.gone])
        return cls(table, put, gone, stored)

    @property
    def rows(self) -> int:
        return self.put.height + self.gone.height

    @property
    def keys(self) -> pl.DataFrame:
        """The keys of all rows that change."""
        key = list(self.table.key)
        return pl.concat([self.put.select(key), self.gone.select(key)])

    def changes(self) -> pl.DataFrame:
        """Each row that changes (changes.CHANGES)."""
        return list_replaced(self.table.name, self.put, self.gone, self.stored.lazy(), self.table.key)

    def write(self, connection: Connection, scope: RunScope, run_id: int) -> int:
        """Writes the rows that change; how many. A row of a closed month gets its next revision."""
        settings, key, closed = scope.settings, list(self.table.key), set[date]()
        if "month" in key:  # debts of closed months may be settled
            closed = set(self.put["month"].unique()) - {*scope.window.open}
        new, changed = self.put, self.put.clear()
        if not self.stored.is_empty():
            before = self.stored.select(key)
            new = self.put.join(before, on=key, how="anti", nulls_equal=True)
            changed = self.put.join(before, on=key, how="semi", nulls_equal=True)
        written = rollup_io.remove(connection, settings, self.table, self.gone)
        written += rollup_io.insert(connection, settings, self.table, new, run_id)
        return written + rollup_io.upsert(connection, settings, self.table, changed, run_id, closed)


def with_left_out(target: pl.LazyFrame, scope: RunScope, *, monthly: bool) -> pl.LazyFrame:
    """Configured meters that this run leaves out cost nothing: what an earlier run wrote for them must go.

    ``monthly``: whether the table has the sum of a level over days as well.
    """
    names: Sequence[str] = [
        name
        for meter in scope.settings.meters
        if meter not in scope.meters
        for name in (
            meter.name,
            cost_of(meter.name),
            *([days_of(meter.name)] if monthly and meter.is_level else []),
        )
    ]
    return target.with_columns(int128(0).alias(name) for name in names)
