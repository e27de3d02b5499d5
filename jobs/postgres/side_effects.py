"""Finds the side effects of the job's writes that need privileges of its role: sequences of defaults, tables that
triggers use.

The tables are found in the text of the trigger's function; dynamic SQL in it is not seen.
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
"""By table and privilege the columns that are written; an empty set: any column."""
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
    """A database object that a write uses indirectly.

    - ``kind``: SEQUENCE, TABLE, or SCHEMA (of a table)
    - ``place``: its name, quoted for SQL
    - ``rights``, ``missing``: the privileges that the role needs, and those of them that it lacks
    - ``cause``: the default or the trigger that uses it
    - ``is_on``: whether row-level security is on
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
    """Returns the side effects of the job's writes, direct and indirect ones. Needs an open transaction."""
    writes, found = _collect_writes(known, needed), dict[tuple[str, str], Effect]()
    while writes:
        fresh = [*_find_sequences(connection, writes), *_find_trigger_effects(connection, settings, writes)]
        further: dict[str, dict[str, frozenset[str]]] = {}
        for effect in fresh:
            key = (effect.kind, effect.place)
            before = found[key].rights if key in found else frozenset[str]()
            for right in effect.rights - before if effect.kind == "TABLE" else ():
                further.setdefault(effect.place, {})[right] = frozenset()
            found[key] = _merge(found.get(key, effect), effect)
        writes = further
    return [found[key] for key in sorted(found)]


def check_side_effects(effects: Sequence[Effect], role: str) -> Iterator[Finding]:
    """Yields a finding for each missing privilege. ``role``: quoted for SQL.

    Missing privileges of triggers are only notes: a trigger may not run every statement of its function.
    """
    for effect in effects:
        if effect.missing:
            rights, lacking = ", ".join(sorted(effect.rights)), ", ".join(sorted(effect.missing))
            is_sure = effect.kind == "SEQUENCE"
            yield Finding(
                "unwritable" if is_sure else "note",
                f"{effect.schema}.{effect.name}",
                f"the privileges {rights} for {effect.cause}",
                f"no {lacking}",
                "Nothing could be written" if is_sure else "A write that causes it fails",
                f"GRANT {lacking} ON {effect.kind} {effect.place} TO {role};",
            )


def _merge(one: Effect, two: Effect) -> Effect:
    cause = one.cause if two.cause in one.cause else f"{one.cause}, {two.cause}"
    rights, missing = one.rights | two.rights, one.missing | two.missing
    return Effect(one.kind, one.place, one.schema, one.name, rights, missing, cause, one.is_on)


def _collect_writes(known: Catalog, needed: Iterable[ColumnRequirement]) -> Writes:
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


def _find_sequences(connection: Connection, writes: Writes) -> Iterator[Effect]:
    inserted = [place for place, rights in writes.items() if "INSERT" in rights]
    for row in _rows(connection, "default_sequences", tables=inserted):
        missing = frozenset[str]() if row["may_use"] else USAGE
        yield Effect("SEQUENCE", row["place"], row["schema"], row["name"], USAGE, missing, row["cause"])


def _find_trigger_effects(connection: Connection, settings: Settings, writes: Writes) -> Iterator[Effect]:
    for row in _rows(connection, "trigger_bodies", tables=list(writes)):
        if not _fires(row, writes[row["place"]]):
            continue
        path = [part.strip(' "') for part in row["path"].split(",")] if row["path"] else [settings.source_schema]
        for name, rights in _parse_body(row["body"]).items():
            *schema, table = [each.strip('"') if each[0] == '"' else each.lower() for each in _PART.findall(name)]
            schemas = schema or path
            for found in _rows(connection, "named_tables", schemas=schemas, names=[table] * len(schemas)):
                where, cause = (found["schema"], found["name"]), row["cause"]
                missing = frozenset(rights - set(found["granted"]))
                yield Effect("TABLE", found["place"], *where, frozenset(rights), missing, cause, found["is_on"])
                if not found["may_use_schema"]:
                    yield Effect("SCHEMA", found["quoted_schema"], *where, USAGE, USAGE, cause)


def _fires(trigger: Mapping[str, Any], rights: Mapping[str, frozenset[str]]) -> bool:
    """Whether one of our writes fires the trigger; a trigger on UPDATE may be limited to other columns."""
    actions, columns = set(trigger["actions"]), set(trigger["columns"])
    if actions & rights.keys() - {"UPDATE"}:
        return True
    ours = rights.get("UPDATE")
    return "UPDATE" in actions and ours is not None and (not columns or not ours or bool(columns & ours))


def _parse_body(body: str) -> dict[str, set[str]]:
    """Returns the privileges that a function's text needs, by table."""
    used: dict[str, set[str]] = {}
    for text in _COMMENT.sub(" ", body).split(";"):
        # An INSERT with ON CONFLICT or RETURNING needs more than INSERT.
        more = {"SELECT", "UPDATE"} if _UPSERT.search(text) else {"SELECT"} if _RETURNING.search(text) else set[str]()
        for pattern, rights in _USES:
            for name in pattern.findall(text):
                used.setdefault(name, set()).update(rights, more if "INSERT" in rights else ())
    return used


def _rows(connection: Connection, name: str, **values: object) -> list[dict[str, Any]]:
    with connection.cursor(row_factory=dict_row) as cursor:
        return cursor.execute(compose(f"catalog.{name}"), values).fetchall()
