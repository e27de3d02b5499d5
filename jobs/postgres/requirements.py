"""Finds all that the job's role needs privileges for: required columns, and the side effects of writes, which are
sequences of defaults, and tables that triggers use.

The tables are found in the text of the trigger's function; dynamic SQL in it is not seen.
"""

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from jobs.postgres.catalog import Catalog, read_catalog
from jobs.postgres.connections import Connection, read_dicts
from jobs.postgres.findings import Finding, grant
from jobs.postgres.required_columns import ColumnRequirement, column_requirements, own_rights
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
USAGE_RIGHT = frozenset(["USAGE"])
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


@dataclass(frozen=True, slots=True)
class Requirements:
    """The catalog of a database, and what the job needs there.

    - ``columns``: the requirements on the application's columns
    - ``rights``: by table of the application and privilege, the existing columns that the job needs it on
    - ``effects``: the side effects of the job's writes
    """

    known: Catalog
    columns: list[ColumnRequirement]
    rights: Mapping[str, Mapping[str, list[str]]]
    effects: list[Effect]


def read_requirements(connection: Connection, settings: Settings) -> Requirements:
    """Reads the catalog, and what the job needs there. Needs an open transaction."""
    known = read_catalog(connection, settings)
    needed = list(column_requirements(known, settings))
    rights: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for need in needed:
        for right in need.rights if need.column in known.source.get(need.table, {}) else ():
            if need.column not in rights[need.table][right]:
                rights[need.table][right].append(need.column)
    return Requirements(known, needed, rights, _read_side_effects(connection, settings, _list_writes(known, rights)))


def _list_writes(known: Catalog, rights: Mapping[str, Mapping[str, list[str]]]) -> Writes:
    """Returns the job's own writes: to the ``rights`` on columns of the application, and to its own tables."""
    wanted = {table: {right: frozenset(names) for right, names in of.items()} for table, of in rights.items()}
    wanted |= {table: dict.fromkeys(own_rights(table), frozenset()) for table in known.own}
    places = {table: next(iter(of.values())).place for table, of in [*known.source.items(), *known.own.items()]}
    return {
        places[table]: {right: columns for right, columns in of.items() if right != "SELECT"}
        for table, of in wanted.items()
    }


def _read_side_effects(connection: Connection, settings: Settings, writes: Writes) -> list[Effect]:
    """Returns the side effects of ``writes``, direct and indirect ones."""
    found: dict[tuple[str, str], Effect] = {}
    while writes:
        further: dict[str, dict[str, frozenset[str]]] = {}
        for new in [*_find_sequences(connection, writes), *_find_trigger_effects(connection, settings, writes)]:
            old = found.get((new.kind, new.place), replace(new, rights=frozenset()))
            if new.kind == "TABLE" and new.rights - old.rights:
                further.setdefault(new.place, {}).update(dict.fromkeys(new.rights - old.rights, frozenset()))
            cause = old.cause if new.cause in old.cause else f"{old.cause}, {new.cause}"
            rights, missing = old.rights | new.rights, old.missing | new.missing
            found[new.kind, new.place] = replace(old, rights=rights, missing=missing, cause=cause)
        writes = further
    return [found[key] for key in sorted(found)]


def check_side_effects(effects: Sequence[Effect], role: str) -> Iterator[Finding]:
    """Yields a finding for each missing privilege. ``role``: quoted for SQL.

    Missing privileges of triggers are only notes: a trigger may not run every statement of its function.
    """
    for effect in (effect for effect in effects if effect.missing):
        subject, missing = f"{effect.schema}.{effect.name}", sorted(effect.missing)
        expected = f"the privileges {', '.join(sorted(effect.rights))} for {effect.cause}"
        found, remedy = f"no {', '.join(missing)}", grant(missing, f"{effect.kind} {effect.place}", role)
        if effect.kind == "SEQUENCE":
            yield Finding("unwritable", subject, expected, found, "Nothing could be written", remedy)
        else:
            yield Finding("note", subject, expected, found, "A write that causes it fails", remedy)


def _find_sequences(connection: Connection, writes: Writes) -> Iterator[Effect]:
    inserted = [place for place, rights in writes.items() if "INSERT" in rights]
    for row in read_dicts(connection, "catalog.default_sequences", tables=inserted):
        missing = frozenset[str]() if row["may_use"] else USAGE_RIGHT
        yield Effect("SEQUENCE", row["place"], row["schema"], row["name"], USAGE_RIGHT, missing, row["cause"])


def _find_trigger_effects(connection: Connection, settings: Settings, writes: Writes) -> Iterator[Effect]:
    for row in read_dicts(connection, "catalog.trigger_bodies", tables=list(writes)):
        if not _fires(row, writes[row["place"]]):
            continue
        path = [part.strip(' "') for part in row["path"].split(",")] if row["path"] else [settings.source_schema]
        for name, rights in _parse_body(row["body"]).items():
            *schema, table = [each.strip('"') if each[0] == '"' else each.lower() for each in _PART.findall(name)]
            schemas = schema or path
            for found in read_dicts(connection, "catalog.named_tables", schemas=schemas, names=[table] * len(schemas)):
                where, cause = (found["schema"], found["name"]), row["cause"]
                missing = frozenset(rights - set(found["granted"]))
                yield Effect("TABLE", found["place"], *where, frozenset(rights), missing, cause, found["is_on"])
                if not found["may_use_schema"]:
                    yield Effect("SCHEMA", found["quoted_schema"], *where, USAGE_RIGHT, USAGE_RIGHT, cause)


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
