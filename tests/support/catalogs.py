"""What a schema is made of, and the rows in it, so that two databases can be compared: what a migration must end in."""

from collections.abc import Sequence
from typing import Any

import psycopg
from psycopg.rows import dict_row

PARTS = {
    "column": """
        SELECT c.relname || '.' || a.attname, format_type(a.atttypid, a.atttypmod)
          || CASE WHEN a.attnotnull THEN ' NOT NULL ' ELSE ' ' END
          || coalesce(pg_get_expr(d.adbin, d.adrelid), '') || a.attidentity::text
        FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
        LEFT JOIN pg_attrdef d ON (d.adrelid, d.adnum) = (a.attrelid, a.attnum)
        WHERE c.relnamespace = 'rollup'::regnamespace AND c.relkind = 'r' AND a.attnum > 0 AND NOT a.attisdropped""",
    "constraint": """
        SELECT conrelid::regclass || ' ' || conname, pg_get_constraintdef(oid) FROM pg_constraint
        WHERE connamespace = 'rollup'::regnamespace AND contype <> 'n'""",
    "index": "SELECT tablename || ' ' || indexname, indexdef FROM pg_indexes WHERE schemaname = 'rollup'",
    "trigger": """
        SELECT tgrelid::regclass || ' ' || tgname, tgenabled::text || pg_get_triggerdef(t.oid) FROM pg_trigger t
        JOIN pg_class c ON c.oid = t.tgrelid WHERE c.relnamespace = 'rollup'::regnamespace AND NOT tgisinternal""",
    "function": """
        SELECT proname, pg_get_functiondef(oid) || coalesce(proacl::text, '') FROM pg_proc
        WHERE pronamespace = 'rollup'::regnamespace""",
    "policy": """
        SELECT tablename || ' ' || policyname, roles::text || cmd || coalesce(qual, '') FROM pg_policies
        WHERE schemaname = 'rollup'""",
    "wall": """
        SELECT relname, relrowsecurity::text || relforcerowsecurity || coalesce(relacl::text, '') FROM pg_class
        WHERE relnamespace = 'rollup'::regnamespace AND relkind = 'r'""",
    "schema": "SELECT nspname, nspacl::text FROM pg_namespace WHERE nspname = 'rollup'",
}
Catalog = dict[str, str]


def catalog(url: str) -> Catalog:
    """Everything that the DDL has made, by name."""
    with psycopg.connect(url) as connection:
        return {
            f"{part} {name}": definition
            for part, query in PARTS.items()
            for name, definition in connection.execute(query.encode()).fetchall()
        }


def unlike(found: Catalog, expected: Catalog) -> dict[str, tuple[str | None, str | None]]:
    """By name: what there is, and what there should be."""
    names = sorted(found.keys() | expected.keys())
    return {name: (found.get(name), expected.get(name)) for name in names if found.get(name) != expected.get(name)}


ROLLUPS = ("user_monthly", "cluster_daily", "cluster_monthly")
OWN = (*ROLLUPS, "credit_draws", "billing_modes", "months", "rejects", "corrections", "runs")
Rows = dict[str, list[dict[str, Any]]]


def rows(url: str) -> Rows:
    """Every row of the job's own tables."""
    with psycopg.connect(url, row_factory=dict_row) as connection:
        texts = {table: f"SELECT * FROM rollup.{table} AS t ORDER BY t::text" for table in OWN}
        return {table: connection.execute(text.encode()).fetchall() for table, text in texts.items()}


def lost(before: Rows, after: Rows, *, month: str = "", but: Sequence[str] = ()) -> list[str]:
    """Rows that are gone or changed, columns that came in between and ``but`` aside; ``month``: only its roll-ups."""
    return [
        f"{table}: {row}"
        for table, some in before.items()
        for row in some
        if (not month or str(row.get("month", row.get("date"))).startswith(month))
        and not any(_but(row, but).items() <= other.items() for other in after[table])
    ]


def _but(row: dict[str, Any], names: Sequence[str]) -> dict[str, Any]:
    return {name: value for name, value in row.items() if name not in names}
