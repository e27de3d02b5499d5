"""Comments on the job's own tables and columns, taken from the manual (``jobs/docs/database.md``).

The page has a section ``## rollup.TABLE`` for each table: a paragraph about the rows, then a Markdown table of column,
unit and meaning. The columns of meters stand there once, as METER, METER_COST and METER_DAYS.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache

from psycopg import sql

from jobs.docs import read_page
from jobs.domain.meters import Meter, cost_of, days_of

METER, METER_COST, METER_DAYS = "<meter>", "<meter>_cost", "<meter>_days"
_SECTION = re.compile(r"^## rollup\.(\w+)\n(.*?)(?=^## |\Z)", re.MULTILINE | re.DOTALL)
_ROW = re.compile(r"^\| `([^`]+)` \| ([^|]+) \| ([^|]+) \|$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class TableEntry:
    """What the page says of a table: what a row is; by column, in the page's order, its unit and its meaning."""

    text: str
    units: Mapping[str, str]
    meanings: Mapping[str, str]


@cache
def entries() -> dict[str, TableEntry]:
    """What the page says of each table, in its order."""
    page = read_page("database")
    found = {}
    for name, section in _SECTION.findall(page):
        rows = [(column, unit.strip(), meaning.strip()) for column, unit, meaning in _ROW.findall(section)]
        text = " ".join(section.strip().partition("\n\n")[0].split()).replace("`", "")
        units = {column: unit for column, unit, _ in rows}
        found[name] = TableEntry(text, units, {column: meaning for column, _, meaning in rows})
    return found


def documented_names(entry: TableEntry, columns: Iterable[str], meters: Sequence[Meter]) -> dict[str, str]:
    """By column of a table the name under which the page has it: its own, or that of every meter's."""
    of_meters: dict[str, str] = {}
    for meter in meters:
        of_meters |= {meter.name: METER, cost_of(meter.name): METER_COST, days_of(meter.name): METER_DAYS}
    return {column: column if column in entry.meanings else of_meters.get(column, column) for column in columns}


def comments(schema: str, table: str, columns: Iterable[str], meters: Sequence[Meter]) -> sql.Composed:
    """COMMENT ON a table of the job's own ``schema`` and on its ``columns``: one text of several statements, because a
    server may be far away."""
    entry = entries()[table]
    on_table = sql.SQL("COMMENT ON TABLE {} IS\n  {}").format(sql.Identifier(schema, table), sql.Literal(entry.text))
    on_columns = [
        sql.SQL("COMMENT ON COLUMN {} IS\n  {}").format(
            sql.Identifier(schema, table, column), sql.Literal(entry.meanings[name])
        )
        for column, name in documented_names(entry, columns, meters).items()
    ]
    return sql.SQL(";\n").join([on_table, *on_columns])
