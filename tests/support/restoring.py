"""Dumps of tables, and their restoration in the same database."""

from collections.abc import Sequence

import psycopg
from commands import ask

APPLICATION = ("usage_daily", "user_credits", "credit_transactions")
NAMES = """
SELECT string_agg(quote_ident(attname), ', ' ORDER BY attnum) AS names FROM pg_attribute
WHERE attrelid = %s::regclass AND attnum > 0 AND NOT attisdropped AND attgenerated = ''
"""


def tables_of(url: str, schema: str) -> list[str]:
    """The tables of a schema, with its name."""
    found = ask(url, "SELECT tablename FROM pg_tables WHERE schemaname = %s ORDER BY 1", schema)
    return [f"{schema}.{row['tablename']}" for row in found]


def copy(url: str, tables: Sequence[str]) -> None:
    """Dumps ``tables``."""
    for table in tables:
        ask(url, f"CREATE TABLE {_dump(table)} AS SELECT * FROM {table}")


def restore(url: str, tables: Sequence[str]) -> None:
    """Restores the dump as pg_restore would: with triggers off."""
    with psycopg.connect(url) as connection:
        connection.execute("SET session_replication_role = replica")
        for table in tables:
            [[names]] = connection.execute(NAMES.encode(), [table])
            text = f"INSERT INTO {table} ({names}) OVERRIDING SYSTEM VALUE SELECT {names} FROM {_dump(table)}"
            connection.execute(f"DELETE FROM {table}".encode())
            connection.execute(text.encode())
            connection.execute(f"DROP TABLE {_dump(table)}".encode())


def _dump(table: str) -> str:
    return f"dump_{table.replace('.', '_')}"
