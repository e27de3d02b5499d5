"""Comments on the job's own tables and columns, taken from the manual (``jobs/docs/database.md``).

The page has a section ``## rollup.TABLE`` for each table: a paragraph about the rows, then a Markdown table of column,
unit and meaning. The columns of meters stand there once, as METER, METER_COST and METER_DAYS.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from typing import NamedTuple

from psycopg import sql

from jobs.docs import read_page
from jobs.domain.meters import Meter, cost_of, days_of

METER, METER_COST, METER_DAYS = "<meter>", "<meter>_cost", "<meter>_days"
_SECTION = re.compile(r"^## rollup\.(\w+)\n(.*?)(?=^## |\Z)", re.MULTILINE | re.DOTALL)
_ROW = re.compile(r"^\| `([^`]+)` \| [^|]*\S[^|]* \| ([^|]+) \|$", re.MULTILINE)


class TableEntry(NamedTuple):
    """What the page says of a table: what a row is; by column, in the page's order, its meaning."""

    text: str
    meanings: Mapping[str, str]


@cache
def entries() -> dict[str, TableEntry]:
    """Returns what the page says of each table, in its order."""
    found = {}
    for name, section in _SECTION.findall(read_page("database")):
        text = " ".join(section.strip().partition("\n\n")[0].split()).replace("`", "")
        found[name] = TableEntry(text, {column: meaning.strip() for column, meaning in _ROW.findall(section)})
    return found


def documented_names(entry: TableEntry, columns: Iterable[str], meters: Sequence[Meter]) -> dict[str, str]:
    """Returns by column the name under which the page has it: its own, or that of every meter's."""
    of_meters: dict[str, str] = {}
    for meter in meters:
        of_meters |= {meter.name: METER, cost_of(meter.name): METER_COST, days_of(meter.name): METER_DAYS}
    return {column: column if column in entry.meanings else of_meters.get(column, column) for column in columns}


def comments(schema: str, table: str, columns: Iterable[str], meters: Sequence[Meter]) -> sql.Composed:
    """Returns the comments on a table of ``schema`` and its ``columns``, as one text: a server may be far away."""
    entry, names = entries()[table], documented_names(entries()[table], columns, meters)
    on_column = sql.SQL("COMMENT ON COLUMN {} IS\n  {}")
    made = [sql.SQL("COMMENT ON TABLE {} IS\n  {}").format(sql.Identifier(schema, table), entry.text)]
    for column, name in names.items():
        made.append(on_column.format(sql.Identifier(schema, table, column), entry.meanings[name]))
    return sql.SQL(";\n").join(made)
