"""The side effects of the job's writes, for which its role needs privileges too: sequences of defaults, and tables that
triggers use.

The tables are found in the text of the trigger's function; dynamic SQL in it is not seen.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from psycopg.types.json import Jsonb

from jobs.postgres.connections import Connection, read_dicts
from jobs.postgres.findings import Finding, grant
from jobs.settings import Settings

Rights = Mapping[tuple[str, str], Mapping[str, Sequence[str]]]
"""By schema and table, and by privilege, the columns that the job needs it on; none: the whole table."""


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
        writes = Jsonb([{"schema": schema, "name": name, "rights": of} for (schema, name), of in rights.items()])
        rows = read_dicts(connection, "catalog.default_sequences", writes=writes)
        rows += read_dicts(connection, "catalog.trigger_tables", writes=writes, source=settings.source_schema)
        further: dict[tuple[str, str], dict[str, Sequence[str]]] = {}
        for row in rows:
            new = Effect(**row | {"rights": frozenset(row["rights"]), "granted": frozenset(row["granted"])})
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
