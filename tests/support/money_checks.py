"""What may never be wrong with money, asked in SQL of our own: no query here comes from the job.

Each query finds culprits. Accounts start with nothing used, and nobody but the job draws.
"""

from collections.abc import Collection
from datetime import date

import psycopg

BY_ROW = """
SELECT u.id, u.user_id, u.credits_deducted, sum(d.free + d.purchased) AS drawn
FROM usage_daily AS u
LEFT JOIN rollup.credit_draws AS d ON (d.usage_daily_id, d.user_id) = (u.id, u.user_id)
WHERE u.date >= %(since)s
GROUP BY u.id HAVING coalesce(u.credits_deducted, 0) <> coalesce(sum(d.free + d.purchased), 0)
"""
OF_OTHERS = """
SELECT d.usage_daily_id, d.user_id, sum(d.free) AS free, sum(d.purchased) AS purchased
FROM rollup.credit_draws AS d LEFT JOIN usage_daily AS u ON u.id = d.usage_daily_id
WHERE d.usage_date >= %(since)s AND u.user_id IS DISTINCT FROM d.user_id
GROUP BY 1, 2 HAVING sum(d.free) <> 0 OR sum(d.purchased) <> 0
"""
BY_USER = """
SELECT user_id, free_credits_used, total_used, d.free, d.purchased
FROM user_credits AS c
FULL JOIN (SELECT user_id, sum(free) AS free, sum(purchased) AS purchased FROM rollup.credit_draws GROUP BY 1) AS d
USING (user_id)
WHERE (coalesce(c.free_credits_used, 0), coalesce(c.total_used, 0))
   <> (coalesce(d.free, 0), coalesce(d.purchased, 0))
"""
TRANSACTIONS = """
SELECT user_id, t.amount, d.amount AS drawn
FROM (SELECT user_id, sum(amount) AS amount FROM credit_transactions WHERE type = 'usage' GROUP BY 1) AS t
FULL JOIN (SELECT user_id, sum(free + purchased) AS amount FROM rollup.credit_draws GROUP BY 1) AS d USING (user_id)
WHERE coalesce(t.amount, 0) <> -coalesce(d.amount, 0)
"""
BELOW_ZERO = """
SELECT user_id FROM user_credits
WHERE free_credits_used > free_credits_granted OR total_used > total_purchased
   OR least(free_credits_used, total_used) < 0
"""
REVISIONS = """
SELECT usage_daily_id, user_id FROM rollup.credit_draws GROUP BY 1, 2
HAVING min(revision) NOT IN (0, 1) OR count(*) <> max(revision) - min(revision) + 1
"""
ROWS = """
SELECT user_id, u.n, m.row_count, u.cost, m.total_cost
FROM (
  SELECT user_id, count(*) AS n, sum(cpu_hours) AS cpu, sum(total_cost) AS cost, count(total_cost) AS priced
  FROM usage_daily
  WHERE date >= %(month)s AND date < %(month)s + interval '1 month' AND date <= %(last)s GROUP BY 1) AS u
FULL JOIN (SELECT * FROM rollup.user_monthly WHERE month = %(month)s) AS m USING (user_id)
WHERE (coalesce(u.n, 0), coalesce(u.priced, 0), coalesce(u.cpu, 0), coalesce(u.cost, 0))
   <> (coalesce(m.row_count, 0), coalesce(m.row_count, 0), coalesce(m.cpu_hours, 0), coalesce(m.total_cost, 0))
"""
USER_DAYS = """
SELECT date, user_id, u.cost, d.total_cost
FROM (
  SELECT date, user_id, hopsworks_cluster_id AS cluster_id, sum(cpu_hours) AS cpu, sum(total_cost) AS cost,
         sum(coalesce(credits_deducted, 0)) AS drawn
  FROM usage_daily WHERE date >= %(since)s AND date <= %(last)s GROUP BY 1, 2, 3) AS u
FULL JOIN (SELECT * FROM rollup.user_daily WHERE date >= %(since)s) AS d
  USING (date, user_id, cluster_id)
WHERE (u.cpu, u.cost, u.drawn) IS DISTINCT FROM (d.cpu_hours, d.total_cost, d.credits_deducted)
"""


def wrong_money(url: str, since: date) -> dict[str, list[object]]:
    """By question, the culprits; ``since``: the first day of the first open month.

    A row of a closed month keeps the draws that it had when the month closed, whoever has it now.
    """
    questions = {
        "draws of a row by its user = credits_deducted": BY_ROW,
        "nobody else is drawn for a row": OF_OTHERS,
        "draws of a user = what his account says is used": BY_USER,
        "transactions of a user = his draws": TRANSACTIONS,
        "no balance is below 0": BELOW_ZERO,
        "revisions have no gap": REVISIONS,
    }
    with psycopg.connect(url) as connection:
        found = {what: connection.execute(text.encode(), {"since": since}) for what, text in questions.items()}
        culprits: dict[str, list[object]] = {what: list(cursor.fetchmany(10)) for what, cursor in found.items()}
    return {what: some for what, some in culprits.items() if some}


def wrong_months(url: str, month: date, last: date, but: Collection[str] = ()) -> list[object]:
    """Users (without ``but``) whose month is not what their rows up to ``last`` say.

    Cost mode rated, no rejected rows: each row shows what it was priced at.
    """
    with psycopg.connect(url) as connection:
        found = connection.execute(ROWS.encode(), {"month": month, "last": last}).fetchall()
    return [row for row in found if row[0] not in but]


def wrong_days(url: str, since: date, last: date) -> list[object]:
    """Rows of rollup.user_daily of open months that are not the sum of the user's rows; no cluster id is null."""
    with psycopg.connect(url) as connection:
        return list(connection.execute(USER_DAYS.encode(), {"since": since, "last": last}).fetchall())
