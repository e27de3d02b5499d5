"""What `check` prints to be pasted into psql: statements that work there, and keep what each row says."""

from jobs.postgres.catalog import Column
from jobs.postgres.credit_capabilities import BINARIES, NUMBERS

WAYS = {
    ("timestamp with time zone", "date"): "({0} AT TIME ZONE 'UTC')::date",
    ("timestamp without time zone", "date"): "{0}::date",
    ("timestamp without time zone", "timestamptz"): "{0} AT TIME ZONE 'UTC'",
    ("date", "timestamptz"): "{0}::timestamp AT TIME ZONE 'UTC'",
    ("money", "numeric"): "{0}::numeric",
    ("bytea", "uuid"): "encode({0}, 'hex')::uuid",
    ("json", "text"): "{0} #>> '{{}}'",
    ("jsonb", "text"): "{0} #>> '{{}}'",
}
"""By the type that a column has and the one that it is to have, its value in the new one; days and times are UTC's.
Else a value is what its text says: of a binary number that is the shortest decimal that stands for it."""
NEITHER = ("uuid", "date", "timestamptz")
"""Types of which a number may mean anything."""
TEXTS = ("text", "character varying", "character")


def retype(column: Column, kind: str) -> str:
    """What makes ``column`` one of type ``kind``; its default is converted, too."""
    name, _, digits = kind.partition("(")
    name = "timestamptz" if name == "timestamp with time zone" else name
    if column.of_view:
        return f"Change the query of the view {column.place}, so that the column is {kind}"
    if column.type in (*NUMBERS, *BINARIES) and name in NEITHER:
        return f"Make it {kind}: what its numbers mean only you know"
    whole = "::numeric" if name in ("integer", "bigint") else ""
    way = WAYS.get((column.type, name)) or f"{{0}}::text{whole}::{kind}"
    if digits and (column.type, name) in WAYS:
        way = f"({way})::{kind}"
    actions = [f"ALTER COLUMN {column.quoted} TYPE {kind} USING {way.format(column.quoted)}"]
    if column.filled_by is not None:
        filled = way.format(f"({column.filled_by})")
        actions = [f"ALTER COLUMN {column.quoted} DROP DEFAULT", *actions]
        actions.append(f"ALTER COLUMN {column.quoted} SET DEFAULT {filled}")
    # A text may hold times without a zone.
    zone = "SET TIME ZONE 'UTC'; " if column.type in TEXTS and name == "timestamptz" else ""
    return f"{zone}ALTER TABLE {column.place} {', '.join(actions)};"


def fill(column: Column, definition: str = "") -> str:
    """What lets an INSERT leave ``column`` out; ``definition``: of the job's own column, as the schema makes it."""
    _, _, default = definition.partition(" DEFAULT ")
    action = f"SET DEFAULT {default}" if default else "DROP NOT NULL"
    if "GENERATED" in definition:
        action = f"ADD {definition.partition(' ')[2]}"
    return f"ALTER TABLE {column.place} ALTER COLUMN {column.quoted} {action};"
