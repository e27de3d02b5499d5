"""A finding: one line of `check`, what it means for a run, and the SQL statements of its remedy, to be run in psql."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from jobs.postgres.catalog import BINARIES, NUMBERS, Column

Level = Literal["ok", "note", "unprovable", "unwritable", "refused"]
"""Severity, in this order: fine, a note, reconcile cannot run, runs cannot write, nothing can be read."""

REFUSING: dict[str, tuple[Level, ...]] = {
    "read": ("refused",),
    "prove": ("refused", "unprovable"),
    "write": ("refused", "unwritable"),
}
"""By purpose the levels that prevent it."""


@dataclass(frozen=True, slots=True)
class Finding:
    """What was checked, what was expected and found, the consequence, and the remedy."""

    level: Level
    subject: str
    expected: str
    found: str
    consequence: str = ""
    remedy: str = ""

    def __str__(self) -> str:
        rest = ". ".join(text for text in (self.consequence, self.remedy) if text)
        return f"{self.subject}: expected {self.expected}; found {self.found}. {rest}".rstrip(". ")


def list_privileges(rights: Mapping[str, Sequence[str]]) -> str:
    """Returns privileges as GRANT lists them. ``rights``: their columns, quoted for SQL; none: the whole table."""
    return ", ".join(f"{right} ({', '.join(columns)})" if columns else right for right, columns in rights.items())


def grant(rights: Iterable[str], place: str, role: str, *columns: str) -> str:
    """Returns the statement that grants ``rights`` on ``place``, or on its ``columns``; all names quoted for SQL."""
    return f"GRANT {list_privileges(dict.fromkeys(rights, columns))} ON {place} TO {role};"


def lacks_privileges(
    level: Level, subject: str, rights: Sequence[str], missing: Sequence[str], consequence: str, remedy: str
) -> Finding:
    """Returns the finding that this role lacks the ``missing`` ones of ``rights``."""
    expected = f"the privilege{'s' if len(rights) > 1 else ''} {', '.join(rights)}"
    return Finding(level, subject, expected, f"no {' nor '.join(missing)}", consequence, remedy)


CONVERSIONS = {
    ("timestamp with time zone", "date"): "({0} AT TIME ZONE 'UTC')::date",
    ("timestamp without time zone", "date"): "{0}::date",
    ("timestamp without time zone", "timestamptz"): "{0} AT TIME ZONE 'UTC'",
    ("date", "timestamptz"): "{0}::timestamp AT TIME ZONE 'UTC'",
    ("money", "numeric"): "{0}::numeric",
    ("bytea", "uuid"): "encode({0}, 'hex')::uuid",
    ("json", "text"): "{0} #>> '{{}}'",
    ("jsonb", "text"): "{0} #>> '{{}}'",
}
"""The conversion by present and wanted type; days and times are in UTC. All other types are converted by way of their
text: for a binary number the shortest decimal that identifies it."""
NOT_FROM_NUMBERS = ("uuid", "date", "timestamptz")
"""Types to which numbers have no obvious conversion."""
TEXT_TYPES = ("text", "character varying", "character")


def retype(column: Column, kind: str) -> str:
    """Returns the statement that changes ``column`` to type ``kind``, its default included."""
    name, _, digits = kind.partition("(")
    name = "timestamptz" if name == "timestamp with time zone" else name
    if column.is_of_view:
        return f"Change the query of the view {column.place}, so that the column is {kind}"
    if column.type in (*NUMBERS, *BINARIES) and name in NOT_FROM_NUMBERS:
        return f"Make it {kind}: how to convert its numbers depends on what they mean"
    whole = "::numeric" if name in ("integer", "bigint") else ""
    way = CONVERSIONS.get((column.type, name)) or f"{{0}}::text{whole}::{kind}"
    if digits and (column.type, name) in CONVERSIONS:
        way = f"({way})::{kind}"
    actions = [f"ALTER COLUMN {column.quoted} TYPE {kind} USING {way.format(column.quoted)}"]
    if column.default_sql is not None:
        filled = way.format(f"({column.default_sql})")
        actions = [f"ALTER COLUMN {column.quoted} DROP DEFAULT", *actions]
        actions.append(f"ALTER COLUMN {column.quoted} SET DEFAULT {filled}")
    # A text may have times without a time zone.
    zone = "SET TIME ZONE 'UTC'; " if column.type in TEXT_TYPES and name == "timestamptz" else ""
    return f"{zone}ALTER TABLE {column.place} {', '.join(actions)};"


def fill(column: Column, definition: str = "") -> str:
    """Returns the statement after which an INSERT may omit ``column``. ``definition``: that of the job's own schema."""
    _, _, default = definition.partition(" DEFAULT ")
    action = f"SET DEFAULT {default}" if default else "DROP NOT NULL"
    if "GENERATED" in definition:
        action = f"ADD {definition.partition(' ')[2]}"
    return f"ALTER TABLE {column.place} ALTER COLUMN {column.quoted} {action};"
