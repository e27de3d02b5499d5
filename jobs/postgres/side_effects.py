"""What the job's writes set off with the rights of its role: sequences of defaults, tables that triggers use.

What a trigger does is read in the text of its function: a statement that it puts together of pieces is not seen.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from psycopg.rows import dict_row

from jobs.postgres.catalog import Catalog
from jobs.postgres.connections import Connection
from jobs.postgres.findings import Finding
from jobs.postgres.required_columns import ColumnRequirement, own_rights
from jobs.postgres.sql_loader import compose
from jobs.settings import Settings

Writes = Mapping[str, Mapping[str, frozenset[str]]]
"""By table and right the columns; none: any of them."""
_NAME = r'((?:"[^"]+"|[a-z_][\w$]*)(?:\.(?:"[^"]+"|[a-z_][\w$]*))?)'
_PART = re.compile(r'"[^"]+"|[^."]+')
_COMMENT = re.compile(r"--[^\n]*|/\*.*?\*/", re.DOTALL)
_USES = [
    (re.compile(words + _NAME, re.IGNORECASE), rights)
    for words, rights in (
        (r"\binsert\s+into\s+", ("INSERT",)),
        (r"\bupdate\s+(?:only\s+)?", ("SELECT", "UPDATE")),
        (r"\bdelete\s+from\s+(?:only\s+)?", ("SELECT", "DELETE")),
        (r"\b(?:from|join)\s+(?:only\s+)?", ("SELECT",)),
    )
]
USAGE = frozenset(["USAGE"])
_UPSERT = re.compile(r"\bon\s+conflict\b.*\bdo\s+update\b", re.IGNORECASE | re.DOTALL)
_RETURNING = re.compile(r"\b(?:on\s+conflict|returning)\b", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Effect:
    """``kind``: SEQUENCE, TABLE, or SCHEMA of a table; ``place``: its name as SQL; ``rights`` that the role needs, and
    of these the ``missing`` ones; ``cause``: whose default, or which trigger; ``is_on``: whether row-level security is.
    """

    kind: str
    place: str
    schema: str
    name: str
    rights: frozenset[str]
    missing: frozenset[str]
    cause: str
    is_on: bool = False


def read_side_effects(
    connection: Connection, settings: Settings, known: Catalog, needed: Iterable[ColumnRequirement]
) -> list[Effect]:
    """What the job's writes set off, and what is set off by that; inside a transaction."""
    writes, found = _writes(known, needed), dict[tuple[str, str], Effect]()
    while writes:
        fresh = [*_sequences(connection, writes), *_of_triggers(connection, settings, writes)]
        further: dict[str, dict[str, frozenset[str]]] = {}
        for effect in fresh:
            key = (effect.kind, effect.place)
            before = found[key].rights if key in found else frozenset[str]()
            for right in effect.rights - before if effect.kind == "TABLE" else ():
                further.setdefault(effect.place, {})[right] = frozenset()
            found[key] = _joined(found.get(key, effect), effect)
        writes = further
    return [found[key] for key in sorted(found)]


def findings(effects: Sequence[Effect], role: str) -> Iterator[Finding]:
    """What the role lacks of it; ``role`` as SQL. A trigger need not do all that its text says: that is only noted."""
    for effect in effects:
        if effect.missing:
            rights, lacking = ", ".join(sorted(effect.rights)), ", ".join(sorted(effect.missing))
            is_sure = effect.kind == "SEQUENCE"
            yield Finding(
                "unwritable" if is_sure else "note",
                f"{effect.schema}.{effect.name}",
                f"the privileges {rights} for {effect.cause}",
                f"no {lacking}",
                "Nothing could be written" if is_sure else "A write that sets it off fails",
                f"GRANT {lacking} ON {effect.kind} {effect.place} TO {role};",
            )


def _joined(one: Effect, two: Effect) -> Effect:
    cause = one.cause if two.cause in one.cause else f"{one.cause}, {two.cause}"
    rights, missing = one.rights | two.rights, one.missing | two.missing
    return Effect(one.kind, one.place, one.schema, one.name, rights, missing, cause, one.is_on)


def _writes(known: Catalog, needed: Iterable[ColumnRequirement]) -> Writes:
    writes: dict[str, dict[str, frozenset[str]]] = {}
    for need in needed:
        column = known.source.get(need.table, {}).get(need.column)
        for right in need.rights if column is not None else ():
            if column is not None and right != "SELECT":
                rights = writes.setdefault(column.place, {})
                rights[right] = rights.get(right, frozenset()) | {column.name}
    for table, columns in known.own.items():
        for column in list(columns.values())[:1]:
            writes[column.place] = {right: frozenset() for right in own_rights(table) if right != "SELECT"}
    return writes


def _sequences(connection: Connection, writes: Writes) -> Iterator[Effect]:
    inserted = [place for place, rights in writes.items() if "INSERT" in rights]
    for row in _rows(connection, "default_sequences", tables=inserted):
        missing = frozenset[str]() if row["may_use"] else USAGE
        yield Effect("SEQUENCE", row["place"], row["schema"], row["name"], USAGE, missing, row["cause"])


def _of_triggers(connection: Connection, settings: Settings, writes: Writes) -> Iterator[Effect]:
    for row in _rows(connection, "trigger_bodies", tables=list(writes)):
        if not _fires(row, writes[row["place"]]):
            continue
        path = [part.strip(' "') for part in row["path"].split(",")] if row["path"] else [settings.source_schema]
        for name, rights in _used(row["body"]).items():
            *schema, table = [each.strip('"') if each[0] == '"' else each.lower() for each in _PART.findall(name)]
            schemas = schema or path
            for found in _rows(connection, "named_tables", schemas=schemas, names=[table] * len(schemas)):
                where, cause = (found["schema"], found["name"]), row["cause"]
                missing = frozenset(rights - set(found["held"]))
                yield Effect("TABLE", found["place"], *where, frozenset(rights), missing, cause, found["is_on"])
                if not found["may_use_schema"]:
                    yield Effect("SCHEMA", found["quoted_schema"], *where, USAGE, USAGE, cause)


def _fires(trigger: Mapping[str, Any], rights: Mapping[str, frozenset[str]]) -> bool:
    """Whether one of our writes sets it off: an UPDATE may be of columns that it does not look at."""
    actions, columns = set(trigger["actions"]), set(trigger["columns"])
    if actions & rights.keys() - {"UPDATE"}:
        return True
    ours = rights.get("UPDATE")
    return "UPDATE" in actions and ours is not None and (not columns or not ours or bool(columns & ours))


def _used(body: str) -> dict[str, set[str]]:
    """By table that a function's text names, what it does there."""
    used: dict[str, set[str]] = {}
    for text in _COMMENT.sub(" ", body).split(";"):
        # An INSERT that looks at the rows that are there, or hands back its own.
        more = {"SELECT", "UPDATE"} if _UPSERT.search(text) else {"SELECT"} if _RETURNING.search(text) else set[str]()
        for pattern, rights in _USES:
            for name in pattern.findall(text):
                used.setdefault(name, set()).update(rights, more if "INSERT" in rights else ())
    return used


def _rows(connection: Connection, name: str, **values: object) -> list[dict[str, Any]]:
    with connection.cursor(row_factory=dict_row) as cursor:
        return cursor.execute(compose(f"catalog.{name}"), values).fetchall()
