"""What a run left in a database, in a form in which two databases can be compared whose columns have other types."""

import json
from decimal import Decimal, InvalidOperation
from typing import Any

import psycopg

Figures = dict[str, dict[str, dict[str, str]]]
"""By table and key: column and value, all as texts, numbers without the zeros at their end."""
KEYS = {
    "rollup.user_daily": ("date", "user_id", "cluster_id"),
    "rollup.user_monthly": ("month", "user_id"),
    "rollup.cluster_daily": ("date", "cluster_id"),
    "rollup.cluster_monthly": ("month", "cluster_id"),
    "rollup.credit_draws": ("usage_daily_id", "user_id", "revision"),
    "rollup.months": ("month",),
    "rollup.rejects": ("usage_daily_id",),
    "usage_daily": ("id",),
    "user_credits": ("user_id",),
    "credit_transactions": ("user_id", "amount", "balance_before"),
}
NOT_COMPARED = {
    "run_id",
    "updated_at",
    "posted_at",
    "first_seen",
    "last_seen",
    "closed_at",
    "closed_by",
    "created_at",
} | {
    *("usage_hash", "written_hash", "rates_hash", "overrides_hash", "credits_hash", "fingerprint"),
    *("id", "row", "reason", "metadata", "revision"),
}
"""When and by which run; hashes, what they cover, and reasons, which say why and not how much."""
ONLY = {"usage_daily": {"total_cost", "credits_deducted"}, "user_credits": {"total_used", "free_credits_used"}}


def figures(url: str) -> Figures:
    """What a run left: every amount, by table and key."""
    found: Figures = {}
    with psycopg.connect(url) as connection:
        connection.execute("SET search_path = public")
        for table, key in KEYS.items():
            if connection.execute("SELECT to_regclass(%s)", [table]).fetchone() != (None,):
                rows = connection.execute(f"SELECT to_jsonb(t)::text FROM {table} AS t".encode()).fetchall()
                found[table] = dict(_figure(table, key, json.loads(text, parse_float=Decimal)) for (text,) in rows)
    return found


def _figure(table: str, key: tuple[str, ...], row: dict[str, Any]) -> tuple[str, dict[str, str]]:
    names = [name for name in row if name not in NOT_COMPARED and name in ONLY.get(table, row)]
    return " ".join(plain(row.get(name)) for name in key), {name: plain(row[name]) for name in names}


def plain(value: object) -> str:
    """1.50 and "1.5" are one number."""
    try:
        number = Decimal(str(value)).normalize()
    except InvalidOperation:
        return str(value)
    return format(number + 0, "f")


def differences(found: Figures, expected: Figures, *, but: tuple[str, ...] = ()) -> list[str]:
    """What differs, as an operator would say it; ``but`` leaves out TABLE or TABLE.COLUMN."""
    told = []
    for table in expected.keys() - set(but):
        told += [f"{table}: no row {key}" for key in expected[table].keys() - found.get(table, {}).keys()]
        told += [f"{table}: a row {key}" for key in found.get(table, {}).keys() - expected[table].keys()]
        told += [
            f"{table} {key} {name}: {found[table][key].get(name)} is not {value}"
            for key in expected[table].keys() & found.get(table, {}).keys()
            for name, value in expected[table][key].items()
            if f"{table}.{name}" not in but and found[table][key].get(name) != value
        ]
    return sorted(told)


def digest(url: str) -> dict[str, str]:
    """By table of public and rollup: whether a row of it has changed."""
    tables = "SELECT schemaname || '.' || tablename FROM pg_tables WHERE schemaname IN ('public', 'rollup')"
    hashed = "SELECT md5(coalesce(string_agg(t::text, '|' ORDER BY t::text), '')) FROM {} AS t"
    with psycopg.connect(url) as connection:
        names = [name for (name,) in connection.execute(tables).fetchall()]
        with connection.pipeline():
            found = {name: connection.execute(hashed.format(name).encode()) for name in names}
            return {name: cursor.fetchall()[0][0] for name, cursor in found.items()}
