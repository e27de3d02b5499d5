"""Named queries: ``sql/<subject>.sql`` holds those of one subject, each after a line ``-- name: <name>``.

Names and lists of columns are composed into ``{parts}``; values are bound as ``%(names)s``.
"""

import re
from functools import cache
from importlib.resources import files
from typing import LiteralString

from psycopg import sql

_NAME = re.compile(r"^-- name: (\w+)\n", re.MULTILINE)


@cache
def _queries(subject: str) -> dict[str, LiteralString]:
    # The files are this package's own: as constant as a literal in the code.
    text: LiteralString = files("jobs.postgres").joinpath("sql", f"{subject}.sql").read_text("utf-8")
    found = _NAME.split(text)
    return {name: body.strip() + "\n" for name, body in zip(found[1::2], found[2::2], strict=True)}


def query(name: str, **parts: sql.Composable) -> sql.Composed:
    """The query ``name`` ("subject.query") with its ``{parts}`` filled in."""
    subject, _, which = name.partition(".")
    return sql.SQL(_queries(subject)[which]).format(**parts)
