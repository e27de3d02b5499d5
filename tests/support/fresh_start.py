"""Leaves in a database only what is history and what other programs wrote, so that one `run --full` starts afresh.

History is: billing_modes, closed months with their roll-ups and draws, imported draws, the draws of rows that were
reported, and the run log, which says how far runs have come. Everything that runs have made of open months is undone,
in the roll-ups, the ledger, the accounts and in usage.
"""

from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any

import psycopg

Link = psycopg.Connection[Any]

ROLLUPS = {"user_daily": "date", "user_monthly": "month", "cluster_daily": "date", "cluster_monthly": "month"}
"""Roll-ups with the column that holds their day or month."""
UNLIKE = ("run_id", "updated_at", "revision", "credits_hash")
"""Columns that say who wrote a row, when, and beside which balance: they depend on the way to a result."""
CLUSTERS = " || jsonb_build_object('clusters', (SELECT array_agg(c ORDER BY c) FROM unnest(t.clusters) AS c))"
"""user_monthly.clusters is a set."""

OPEN_MONTHS = """
CREATE TEMP TABLE open_month ON COMMIT DROP AS
SELECT day::date AS month FROM generate_series(%(first)s::date, %(last)s::date, interval '1 month') AS day
WHERE NOT EXISTS (SELECT FROM rollup.months AS m WHERE m.month = day::date AND m.closed_at IS NOT NULL)
"""
IS_OPEN = "date_trunc('month', {day})::date IN (SELECT month FROM open_month)"
DRAWS = f"""
CREATE TEMP TABLE draw ON COMMIT DROP AS
SELECT d.*, d.revision > 0 AND {IS_OPEN.format(day="d.usage_date")} AND NOT EXISTS (
  SELECT FROM usage_daily AS u WHERE u.id = d.usage_daily_id AND u.user_id = d.user_id AND {{reported}}) AS undone
FROM rollup.credit_draws AS d
"""
ACCOUNTS = """
UPDATE user_credits AS c SET {undone}
FROM (SELECT user_id, sum(free) AS free, sum(purchased) AS purchased FROM draw WHERE undone GROUP BY 1) AS d
WHERE d.user_id = c.user_id
"""
DEDUCTED = f"""
UPDATE usage_daily AS u SET credits_deducted = coalesce((
  SELECT sum(free + purchased) FROM draw AS d
  WHERE d.usage_daily_id = u.id AND d.user_id = u.user_id AND NOT undone), 0)
WHERE {IS_OPEN.format(day="u.date")} OR u.id IN (SELECT usage_daily_id FROM draw WHERE undone)
"""
TRANSACTIONS = """
DELETE FROM credit_transactions AS t WHERE t.type = 'usage' AND t.metadata ? 'run_id' AND (
  (t.metadata->>'month')::date IN (SELECT month FROM open_month) OR EXISTS (
    SELECT FROM draw AS d WHERE undone AND d.user_id = t.user_id
      AND d.usage_daily_id::text = t.metadata->>'usage_daily_id' AND d.run_id::text = t.metadata->>'run_id'))
"""
LEDGER = """
DELETE FROM draw WHERE undone;
UPDATE draw AS d SET revision = n.revision FROM (
  SELECT usage_daily_id, user_id, revision AS old,
    row_number() OVER rows - (min(revision) OVER (PARTITION BY usage_daily_id, user_id) = 0)::int AS revision
  FROM draw WINDOW rows AS (PARTITION BY usage_daily_id, user_id ORDER BY revision)) AS n
WHERE (n.usage_daily_id, n.user_id, n.old) = (d.usage_daily_id, d.user_id, d.revision);
ALTER TABLE draw DROP COLUMN undone;
TRUNCATE rollup.credit_draws;
INSERT INTO rollup.credit_draws SELECT * FROM draw;
"""
REJECTED_DAY = "(\"row\"->>'date')::date"
REJECTS = f"""
DELETE FROM rollup.rejects WHERE {REJECTED_DAY} IS NULL OR NOT isfinite({REJECTED_DAY})
  OR {IS_OPEN.format(day=REJECTED_DAY)}
"""
OUTCOME = {
    "months": "SELECT (to_jsonb(m) - '{closed_at,closed_by}'::text[]"
    " || jsonb_build_object('closed', closed_at IS NOT NULL))::text FROM rollup.months AS m",
    "rejects": "SELECT concat_ws(' ', usage_daily_id, reason) FROM rollup.rejects",
    "billing modes": "SELECT concat_ws(' ', user_id, valid_from, mode) FROM rollup.billing_modes",
    "draws": """
        SELECT concat_ws(' ', usage_daily_id, user_id, date_trunc('month', usage_date)::date,
          trim_scale(sum(free)), trim_scale(sum(purchased))) FROM rollup.credit_draws
        GROUP BY usage_daily_id, user_id, date_trunc('month', usage_date)
        HAVING sum(free) <> 0 OR sum(purchased) <> 0""",
    "debts": """
        SELECT concat_ws(' ', usage_daily_id, user_id, usage_date, trim_scale(amount - settled - written_off))
        FROM rollup.debts JOIN rollup.months AS m ON m.month = date_trunc('month', usage_date)::date
        WHERE m.closed_at IS NOT NULL AND amount > settled + written_off""",
    "accounts": """
        SELECT concat_ws(' ', user_id, trim_scale(total_used),
          trim_scale((to_jsonb(c)->>'free_credits_used')::numeric)) FROM user_credits AS c""",
    "usage": """
        SELECT concat_ws(' ', u.id, trim_scale(coalesce(u.credits_deducted, 0)), trim_scale(u.total_cost))
        FROM usage_daily AS u WHERE u.date BETWEEN %(first)s AND %(last)s
          AND NOT EXISTS (SELECT FROM rollup.rejects AS r WHERE r.usage_daily_id = u.id)""",
}


def forget_open_months(url: str, first: date, last: date) -> None:
    """Undoes all that runs have made of the open months between these days."""
    with psycopg.connect(url) as link:
        # The ledger's own trigger refuses what is done here; so would updated_at count as a change.
        link.execute("SET LOCAL session_replication_role = replica")
        link.execute(OPEN_MONTHS, {"first": first.replace(day=1), "last": last})
        reported = "u.reported_to_stripe" if has_column(link, "usage_daily", "reported_to_stripe") else "false"
        undone = "total_used = total_used - d.free - d.purchased"
        if has_column(link, "user_credits", "free_credits_used"):
            undone = "total_used = total_used - d.purchased, free_credits_used = free_credits_used - d.free"
        statements = [DRAWS.format(reported=reported), ACCOUNTS.format(undone=undone), DEDUCTED, TRANSACTIONS, LEDGER]
        for table, day in (ROLLUPS | {"months": "month"}).items():
            statements.append(f"DELETE FROM rollup.{table} WHERE {IS_OPEN.format(day=day)}")
        for statement in [*statements, REJECTS]:
            link.execute(statement.encode())


def outcome(url: str, first: date, last: date) -> dict[str, list[str]]:
    """What runs have come to, by what it is, as sorted texts; usage only of the days from ``first`` to ``last``."""
    queries = dict(OUTCOME)
    unlike = f"'{{{','.join(UNLIKE)}}}'::text[]"
    for table in ROLLUPS:
        clusters = CLUSTERS if table == "user_monthly" else ""
        queries[table] = f"SELECT (to_jsonb(t) - {unlike}{clusters})::text FROM rollup.{table} AS t"
    with psycopg.connect(url) as link:
        return {name: _texts(link, query, {"first": first, "last": last}) for name, query in queries.items()}


def has_column(link: Link, table: str, column: str) -> bool:
    query = "SELECT FROM pg_attribute WHERE attrelid = %s::regclass AND attname = %s AND NOT attisdropped"
    return link.execute(query, [table, column]).fetchone() is not None


def closed_months(url: str) -> Sequence[date]:
    with psycopg.connect(url) as link:
        return [month for (month,) in link.execute("SELECT month FROM rollup.months WHERE closed_at IS NOT NULL")]


def _texts(link: Link, query: str, values: Mapping[str, Any]) -> list[str]:
    return sorted(text for (text,) in link.execute(query.encode(), values if "%(" in query else None))
