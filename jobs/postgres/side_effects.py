"""The side effects of the job's writes, for which its role needs privileges too: sequences of defaults, and tables that
triggers use.

The tables are found in the text of the trigger's function; dynamic SQL in it is not seen.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from jobs.postgres.connections import Connection, read_dicts
from jobs.postgres.findings import Finding, grant
from jobs.settings import Settings

Rights = Mapping[tuple[str, str], Mapping[str, Sequence[str]]]
"""By schema and table, and by privilege, the columns that the job needs it on; none: the whole table."""
_NAME = r'((?:"[^"]+"|[a-z_][\w$]*)(?:\.(?:"[^"]+"|[a-z_][\w$]*))?)'
_PART = re.compile(r'"[^"]+"|[^."]+')
_COMMENT = re.compile(r"--[^\n]*|/\*.*?\*/", re.DOTALL)
_USES = {
    r"\binsert\s+into\s+": ("INSERT",),
    r"\bupdate\s+(?:only\s+)?": ("SELECT", "UPDATE"),
    r"\bdelete\s+from\s+(?:only\s+)?": ("SELECT", "DELETE"),
    r"\b(?:from|join)\s+(?:only\s+)?": ("SELECT",),
}
_UPSERT = re.compile(r"\bon\s+conflict\b.*\bdo\s+update\b", re.IGNORECASE | re.DOTALL)
_RETURNING = re.compile(r"\b(?:on\s+conflict|returning)\b", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Effect:
    """A database object that a write uses indirectly.

    - ``kind``: SEQUENCE, TABLE, or SCHEMA (of a table)
    - ``place``: its name, quoted for SQL
    - ``rights``, ``granted``: the privileges that the role needs, and some that it has
    - ``cause``: the default or the trigger that uses it
    - ``is_on``: whether row-level security is on
    """

    kind: str
    place: str
    schema: str
    name: str
    rights: frozenset[str]
    granted: frozenset[str]
    cause: str
    is_on: bool = False


def find_effects(connection: Connection, settings: Settings, rights: Rights) -> list[Effect]:
    """Returns the side effects of the writes that ``rights`` allow, direct and indirect ones."""
    found: dict[tuple[str, str], Effect] = {}
    while rights:
        further: dict[tuple[str, str], dict[str, Sequence[str]]] = {}
        for new in [*_find_sequences(connection, rights), *_find_trigger_effects(connection, settings, rights)]:
            old = found.get((new.kind, new.place), replace(new, rights=frozenset()))
            if new.kind == "TABLE" and new.rights - old.rights:
                further.setdefault((new.schema, new.name), {}).update(dict.fromkeys(new.rights, ()))
            cause = old.cause if new.cause in old.cause else f"{old.cause}, {new.cause}"
            found[new.kind, new.place] = replace(old, rights=old.rights | new.rights, cause=cause)
        rights = further
    return [found[key] for key in sorted(found)]


def check_side_effects(effects: Sequence[Effect], role: str) -> Iterator[Finding]:
    """Yields a finding for each missing privilege. ``role``: quoted for SQL.

    Missing privileges of triggers are only notes: a trigger may not run every statement of its function.
    """
    for effect in effects:
        if missing := sorted(effect.rights - effect.granted):
            is_sequence, found = effect.kind == "SEQUENCE", f"no {', '.join(missing)}"
            yield Finding(
                "unwritable" if is_sequence else "note",
                f"{effect.schema}.{effect.name}",
                f"the privileges {', '.join(sorted(effect.rights))} for {effect.cause}",
                found,
                "Nothing could be written" if is_sequence else "A write that causes it fails",
                grant(missing, f"{effect.kind} {effect.place}", role),
            )


def _names(tables: Sequence[tuple[str, str]]) -> dict[str, list[str]]:
    return {"schemas": [schema for schema, _ in tables], "names": [name for _, name in tables]}


def _find_sequences(connection: Connection, rights: Rights) -> Iterator[Effect]:
    inserted = [table for table, of in rights.items() if "INSERT" in of]
    for row in read_dicts(connection, "catalog.default_sequences", **_names(inserted)):
        yield Effect("SEQUENCE", rights=frozenset(["USAGE"]), **row | {"granted": frozenset(row["granted"])})


def _find_trigger_effects(connection: Connection, settings: Settings, rights: Rights) -> Iterator[Effect]:
    usage = frozenset(["USAGE"])
    for row in read_dicts(connection, "catalog.trigger_bodies", **_names(list(rights))):
        if not _fires(row, rights[row["schema"], row["name"]]):
            continue
        path = [part.strip(' "') for part in row["path"].split(",")] if row["path"] else [settings.source_schema]
        for used, needed in _parse_body(row["body"]).items():
            *schema, table = [each.strip('"') if each[0] == '"' else each.lower() for each in _PART.findall(used)]
            names = _names([(each, table) for each in schema or path])
            for found in read_dicts(connection, "catalog.named_tables", **names):
                where, cause = (found["schema"], found["name"]), row["cause"]
                granted = frozenset(found["granted"])
                yield Effect("TABLE", found["place"], *where, frozenset(needed), granted, cause, found["is_on"])
                if not found["may_use_schema"]:
                    yield Effect("SCHEMA", found["quoted_schema"], *where, usage, frozenset(), cause)


def _fires(trigger: Mapping[str, Any], rights: Mapping[str, Sequence[str]]) -> bool:
    """Whether one of our writes fires the trigger; a trigger on UPDATE may be limited to other columns."""
    actions, columns = {*trigger["actions"]} & rights.keys(), trigger["columns"]
    ours = rights["UPDATE"] if "UPDATE" in actions else ()
    return bool(actions) and (actions != {"UPDATE"} or not columns or not ours or not {*columns}.isdisjoint(ours))


def _parse_body(body: str) -> dict[str, set[str]]:
    """Returns the privileges that a function's text needs, by table."""
    used: dict[str, set[str]] = {}
    for text in _COMMENT.sub(" ", body).split(";"):
        # An INSERT with ON CONFLICT or RETURNING needs more than INSERT.
        more = {"SELECT", "UPDATE"} if _UPSERT.search(text) else {"SELECT"} if _RETURNING.search(text) else set[str]()
        for words, rights in _USES.items():
            for name in re.findall(words + _NAME, text, re.IGNORECASE):
                used.setdefault(name, set()).update(rights, more if "INSERT" in rights else ())
    return used
