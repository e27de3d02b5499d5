"""Law 2: a second database that holds only the facts of a first one, where one run must come to the same figures.

Facts are: usage, accounts without our draws of the window, modes' history, closed months with their draws, what was
reported or imported, and the run log, which says how far runs have come.
"""

from collections.abc import Sequence
from datetime import date
from typing import Any

import psycopg
from psycopg import sql

Link = psycopg.Connection[Any]

TABLES = ("public.users", "public.hopsworks_clusters", "public.usage_daily", "public.user_credits",
          "public.user_pricing_overrides", "rollup.billing_modes", "rollup.runs")  # fmt: skip
IN_WINDOW = "date_trunc('month', {column})::date = ANY(%(window)s)"
PART = """
CREATE TEMP TABLE fact ON COMMIT DROP AS
SELECT d.*, {window} AND d.revision > 0 AND NOT EXISTS (
  SELECT FROM usage_daily AS u WHERE u.id = d.usage_daily_id AND u.user_id = d.user_id AND {reported}) AS ours
FROM staged AS d
"""
DRAWS = """
INSERT INTO rollup.credit_draws
  (usage_daily_id, user_id, revision, usage_date, free, purchased, imported, run_id, posted_at)
SELECT usage_daily_id, user_id,
  row_number() OVER (PARTITION BY usage_daily_id, user_id ORDER BY revision)
    - (min(revision) OVER (PARTITION BY usage_daily_id, user_id) = 0)::int,
  usage_date, free, purchased, imported, run_id, posted_at
FROM fact WHERE NOT ours
"""
ACCOUNTS = """
UPDATE user_credits AS c SET {undone}
FROM (SELECT user_id, sum(free) AS free, sum(purchased) AS purchased FROM fact WHERE ours GROUP BY 1) AS d
WHERE d.user_id = c.user_id
"""
DEDUCTED = """
UPDATE usage_daily AS u SET credits_deducted = coalesce((
  SELECT sum(free + purchased) FROM fact AS d
  WHERE d.usage_daily_id = u.id AND d.user_id = u.user_id AND NOT ours), 0)
WHERE {window} OR u.id IN (SELECT usage_daily_id FROM fact WHERE ours)
"""
NEXT_RUN = """
SELECT setval(pg_get_serial_sequence('rollup.runs', 'run_id'), greatest(1, max(run_id)), max(run_id) IS NOT NULL)
FROM rollup.runs
"""


def copy_facts(source: Link, target: Link, window: Sequence[date]) -> None:
    """Fills an empty database of the same shape, our tables made, with the facts of another."""
    with target.transaction():
        for table in TABLES:
            _copy(source, target, table, table)
        closed = "(SELECT * FROM rollup.months WHERE closed_at IS NOT NULL)"
        _copy(source, target, "rollup.months", "rollup.months", closed)
        target.execute("CREATE TEMP TABLE staged (LIKE rollup.credit_draws) ON COMMIT DROP")
        _copy(source, target, "rollup.credit_draws", "staged")
        _forget(target, window)


def _forget(target: Link, window: Sequence[date]) -> None:
    """Leaves out what runs drew in the window, from the ledger, from the accounts and from usage."""
    reported = "u.reported_to_stripe" if _has(target, "usage_daily", "reported_to_stripe") else "false"
    undone = "total_used = total_used - d.free - d.purchased"
    if _has(target, "user_credits", "free_credits_used"):
        undone = "total_used = total_used - d.purchased, free_credits_used = free_credits_used - d.free"
    values = {"window": list(window)}
    drawn, used = IN_WINDOW.format(column="d.usage_date"), IN_WINDOW.format(column="u.date")
    target.execute(PART.format(window=drawn, reported=reported).encode(), values)
    target.execute(DRAWS.encode())
    target.execute(ACCOUNTS.format(undone=undone).encode())
    target.execute(DEDUCTED.format(window=used).encode(), values)
    target.execute(NEXT_RUN.encode())


def _has(link: Link, table: str, column: str) -> bool:
    query = "SELECT FROM pg_attribute WHERE attrelid = %s::regclass AND attname = %s AND NOT attisdropped"
    return link.execute(query, [table, column]).fetchone() is not None


def _copy(source: Link, target: Link, table: str, into: str, rows: str | None = None) -> None:
    columns = source.execute(
        "SELECT attname FROM pg_attribute WHERE attrelid = %s::regclass AND attnum > 0 AND NOT attisdropped"
        " AND attgenerated = '' ORDER BY attnum",
        [table],
    ).fetchall()
    names = sql.SQL(", ").join(sql.Identifier(name) for (name,) in columns)
    query = sql.SQL("COPY (SELECT {} FROM {} AS t) TO STDOUT").format(names, sql.SQL(rows or table))
    whole = sql.SQL("COPY {} ({}) FROM STDIN").format(sql.SQL(into), names)
    with source.cursor().copy(query) as reading:
        data = b"".join(bytes(part) for part in reading)
    with target.cursor().copy(whole) as writing:
        writing.write(data)


def outcome(link: Link, window: Sequence[date]) -> dict[str, list[str]]:
    """What one run must come to from the facts alone; who wrote a row and when is no part of it."""
    values = {"window": list(window)}
    unlike = "'{run_id,updated_at,revision,credits_hash}'::text[]"
    found = {}
    for table, day in (("user_monthly", "month"), ("cluster_daily", "date"), ("cluster_monthly", "month")):
        query = f"SELECT (to_jsonb(t) - {unlike})::text FROM rollup.{table} AS t WHERE "
        found[table] = query + IN_WINDOW.format(column=f"t.{day}")
    found["draws"] = (
        "SELECT concat_ws(' ', usage_daily_id, user_id, date_trunc('month', usage_date)::date,"
        " trim_scale(sum(free)), trim_scale(sum(purchased))) FROM rollup.credit_draws"
        f" WHERE {IN_WINDOW.format(column='usage_date')}"
        " GROUP BY usage_daily_id, user_id, date_trunc('month', usage_date)"
        " HAVING sum(free) <> 0 OR sum(purchased) <> 0"
    )
    found["accounts"] = "SELECT concat_ws(' ', user_id, trim_scale(total_used)) FROM user_credits"
    if _has(link, "user_credits", "free_credits_used"):
        found["accounts, free"] = "SELECT concat_ws(' ', user_id, trim_scale(free_credits_used)) FROM user_credits"
    found["usage"] = (
        "SELECT concat_ws(' ', id, trim_scale(coalesce(credits_deducted, 0)), trim_scale(total_cost)) FROM usage_daily"
    )
    return {name: sorted(text for (text,) in link.execute(query.encode(), values)) for name, query in found.items()}
