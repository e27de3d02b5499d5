"""How a table differs from its target rows; writes only the rows that differ."""

from dataclasses import dataclass
from datetime import date

import polars as pl

from jobs.domain.tables import Table
from jobs.postgres import table_io
from jobs.postgres.connections import Connection
from jobs.postgres.run_scope import RunScope
from jobs.rollups.changes import compare_rows, list_row_diff


@dataclass(frozen=True, slots=True)
class TableDiff:
    """The differences of one table: whole rows to upsert, keys of rows to delete, and the ``stored`` rows."""

    table: Table
    upserts: pl.DataFrame
    deletes: pl.DataFrame
    stored: pl.DataFrame

    @classmethod
    def compare(cls, scope: RunScope, name: str, rows: pl.DataFrame, stored: pl.DataFrame) -> "TableDiff":
        """Compares the ``rows`` that the table ``name`` should have with the ``stored`` ones."""
        table = table_io.find_table(scope.settings, name)
        return cls(table, *compare_rows(rows.lazy(), stored.lazy(), table.key), stored)

    @property
    def row_count(self) -> int:
        """How many rows change."""
        return self.upserts.height + self.deletes.height

    @property
    def keys(self) -> pl.DataFrame:
        """The keys of all rows that change."""
        key = list(self.table.key)
        return pl.concat([self.upserts.select(key), self.deletes.select(key)])

    @property
    def replaced(self) -> pl.DataFrame:
        """The stored rows that are replaced or deleted."""
        return self.stored.join(self.keys, on=list(self.table.key), how="semi", nulls_equal=True)

    def list_changes(self) -> pl.DataFrame:
        """Returns each row that changes (rollups.changes.CHANGES)."""
        return list_row_diff(self.table.name, self.upserts, self.deletes, self.stored.lazy(), self.table.key)

    def write(self, connection: Connection, scope: RunScope, run_id: int) -> int:
        """Writes the rows that change, and returns how many.

        A row of user_monthly in a closed month gets its next revision: a settled debt changes such a row.
        """
        settings, key, closed = scope.settings, list(self.table.key), set[date]()
        if "month" in key:
            closed = set(self.upserts["month"].unique()) - {*scope.window.open}
        new, changed = self.upserts, self.upserts.clear()
        if not self.stored.is_empty():
            before = self.stored.select(key)
            new = self.upserts.join(before, on=key, how="anti", nulls_equal=True)
            changed = self.upserts.join(before, on=key, how="semi", nulls_equal=True)
        written = table_io.remove(connection, settings, self.table, self.deletes)
        written += table_io.insert(connection, settings, self.table, new, run_id)
        return written + table_io.upsert(connection, settings, self.table, changed, run_id, closed)
