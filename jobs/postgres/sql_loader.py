"""Named SQL: ``sql/<subject>.sql`` holds the queries of one subject, each after a line ``-- name: <name>``.

``{app.usage_daily}`` is a table of the application, ``{job.user_daily}`` one of the job. Names and lists of columns are
composed into other ``{parts}``; a part with the name of a query of the same file is that query. Values are bound as
``%(names)s``.
"""

import re
from collections.abc import Collection, Iterable, Sequence
from datetime import date
from functools import cache
from importlib.resources import files
from typing import Any, LiteralString

from psycopg import sql
from psycopg.abc import AdaptContext

from jobs.settings import Settings

_NAME = re.compile(r"^-- name: (\w+)\n", re.MULTILINE)
_TABLE = re.compile(r"\{(app|job)\.(\w+)\}")
_PART = re.compile(r"\{(\w+)\}")
_SEPARATOR = "\x1f"


@cache
def read_queries(subject: str) -> dict[str, LiteralString]:
    """Returns the queries of ``sql/<subject>.sql`` by name."""
    # The files are this package's own: as constant as a literal in the code.
    text: LiteralString = files("jobs.postgres").joinpath("sql", f"{subject}.sql").read_text("utf-8")
    found = _NAME.split(text)
    return {name: body.strip() for name, body in zip(found[1::2], found[2::2], strict=True)}


def compose(name: str, settings: Settings | None = None, /, **parts: Any) -> sql.Composed:
    """Returns the query ``name`` ("subject.query") with its ``{parts}`` filled in. A part that is no SQL becomes a
    literal.

    ``settings``: name the schemas of its ``{app.…}`` and ``{job.…}`` tables; a query without such tables needs none.
    """
    subject, _, which = name.partition(".")
    queries = read_queries(subject)
    text = queries[which]
    if settings is not None:
        makers = {"app": app_table, "job": job_table}
        parts |= {f"{of}.{table}": makers[of](settings, table) for of, table in set(_TABLE.findall(text))}
    for inner in set(_PART.findall(text)) & queries.keys() - parts.keys():
        parts[inner] = compose(f"{subject}.{inner}", settings, **parts)
    return sql.SQL(text).format(**parts)


def escape_percent(part: sql.Composable, context: AdaptContext) -> bytes:
    """Returns ``part`` as bytes for a statement with bound values, with % doubled in names and literals: there it is a
    character. In our SQL text it begins a placeholder."""
    if isinstance(part, sql.Composed):
        return b"".join(escape_percent(inner, context) for inner in part)
    text = part.as_bytes(context)
    return text if isinstance(part, sql.SQL | sql.Placeholder) else text.replace(b"%", b"%%")


def raw(text: str) -> sql.Composed:
    """Returns a text of our own code as SQL, to be joined with other parts."""
    return sql.Composed([sql.SQL(text)])


def job_table(settings: Settings, table: str) -> sql.Identifier:
    """Returns a table of the job's own schema as SQL."""
    return sql.Identifier(settings.rollup_schema, table)


def app_table(settings: Settings, table: str) -> sql.Identifier:
    """Returns a table of the application's schema as SQL."""
    return sql.Identifier(settings.source_schema, table)


def column_list(names: Iterable[str]) -> sql.Composed:
    """Returns a list of column names as SQL."""
    return join_columns("{}", names)


def join_columns(pattern: LiteralString, names: Iterable[str], between: LiteralString = ", ") -> sql.Composed:
    """Returns ``pattern`` (such as "sum({0}) AS {0}") for each column, joined by ``between``."""
    return sql.SQL(between).join(sql.SQL(pattern).format(sql.Identifier(name)) for name in names)


def in_spans(column: str, spans: Iterable[tuple[date, date]]) -> sql.Composed:
    """Returns the condition that ``column`` is in one of ``spans`` (first and last day; at least one span).

    No named query: the number of spans varies. Ranges, not date_trunc, so that an index on the column can be used.
    """
    ranges = [sql.SQL("{} BETWEEN {} AND {}").format(sql.Identifier(column), *span) for span in spans]
    return sql.SQL("({})").format(sql.SQL(" OR ").join(ranges))


def text_array(texts: Collection[str]) -> sql.Composable:
    """Returns a set of texts as an SQL array: for thousands this is ten times as fast as one literal per text.

    Sorted, so that a query of the same users is always the same statement.
    """
    texts = sorted(texts)
    joined = _SEPARATOR.join(texts)
    if not joined or joined.count(_SEPARATOR) >= len(texts):
        return sql.SQL("{}::text[]").format(sql.Literal(texts))
    return sql.SQL("string_to_array({}, {})").format(joined, _SEPARATOR)


def bind_columns(names: str, rows: Iterable[Sequence[Any]]) -> dict[str, list[Any]]:
    """Returns the values of ``rows`` by column, to be bound for unnest(). ``names``: of the columns, with blanks."""
    keys = names.split()
    found = [*zip(*rows, strict=True)] or [()] * len(keys)
    return {key: list(column) for key, column in zip(keys, found, strict=True)}
