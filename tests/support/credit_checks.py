"""After a run: what stands in the database is what the credit oracle says, and the laws hold in SQL.

Each law is a query that finds culprits; the window's months and the run's last day are its parameters.
"""

from collections import Counter
from collections.abc import Mapping
from datetime import date
from decimal import Decimal
from fractions import Fraction
from typing import Any

import psycopg
from credit_oracle import CreditBook
from credit_values import NOTHING
from credit_world import NUMBERS, Others
from oracle import Figures
from psycopg import sql
from psycopg.rows import dict_row

from jobs.domain.run_report import Report

Link = psycopg.Connection[Any]
Key = tuple[Any, ...]

OURS = "t.type = 'usage' AND t.metadata ? 'run_id'"
LAWS = {
    "revisions have no gap": """
        SELECT usage_daily_id, user_id FROM rollup.credit_draws GROUP BY 1, 2
        HAVING min(revision) NOT IN (0, 1) OR count(*) <> max(revision) - min(revision) + 1""",
    "no key has a negative draw": """
        SELECT usage_daily_id, user_id, date_trunc('month', usage_date) FROM rollup.credit_draws GROUP BY 1, 2, 3
        HAVING sum(free) < 0 OR sum(purchased) < 0""",
    "an accepted row holds the draws of its user": """
        SELECT u.id, u.credits_deducted, sum(d.free + d.purchased)
        FROM usage_daily AS u LEFT JOIN rollup.credit_draws AS d ON (d.usage_daily_id, d.user_id) = (u.id, u.user_id)
        WHERE date_trunc('month', u.date)::date = ANY(%(window)s) AND u.date <= %(last)s
          AND NOT EXISTS (SELECT FROM rollup.rejects AS r WHERE r.usage_daily_id = u.id)
        GROUP BY u.id HAVING coalesce(u.credits_deducted, 0) <> coalesce(sum(d.free + d.purchased), 0)""",
    "nobody else is drawn": """
        SELECT d.usage_daily_id, d.user_id
        FROM rollup.credit_draws AS d LEFT JOIN usage_daily AS u ON u.id = d.usage_daily_id
        WHERE date_trunc('month', d.usage_date)::date = ANY(%(window)s) AND u.user_id IS DISTINCT FROM d.user_id
          AND d.usage_date <= %(last)s
        GROUP BY 1, 2 HAVING sum(d.free) <> 0 OR sum(d.purchased) <> 0""",
    "the roll-up is the ledger": """
        SELECT month, user_id, m.credits_free, m.credits_purchased, d.free, d.purchased
        FROM rollup.user_monthly AS m FULL JOIN (
          SELECT user_id, date_trunc('month', usage_date)::date AS month, sum(free) AS free, sum(purchased) AS purchased
          FROM rollup.credit_draws AS c
          WHERE usage_date <= %(last)s OR EXISTS (
            SELECT FROM usage_daily AS u WHERE (u.id, u.user_id) = (c.usage_daily_id, c.user_id) AND u.date <= %(last)s
              AND NOT EXISTS (SELECT FROM rollup.months AS o WHERE o.month = date_trunc('month', u.date)
                              AND o.closed_at IS NOT NULL))
          GROUP BY 1, 2) AS d USING (month, user_id)
        WHERE month IN (SELECT o.month FROM rollup.months AS o)
          AND (coalesce(m.credits_free, 0), coalesce(m.credits_purchased, 0), coalesce(m.credits_deducted, 0))
            <> (coalesce(d.free, 0), coalesce(d.purchased, 0), coalesce(d.free + d.purchased, 0))""",
    "users and clusters agree": """
        SELECT month, sum(users), sum(months), sum(days) FROM (
          SELECT month, credits_deducted AS users, 0 AS months, 0 AS days FROM rollup.user_monthly
          UNION ALL SELECT month, 0, credits_deducted, 0 FROM rollup.cluster_monthly
          UNION ALL SELECT date_trunc('month', date)::date, 0, 0, credits_deducted FROM rollup.cluster_daily) AS parts
        WHERE month = ANY(%(window)s)
        GROUP BY 1 HAVING sum(users) <> sum(months) OR sum(users) <> sum(days)""",
    "never more than the quantized cost": """
        SELECT month, user_id, credits_deducted, total_cost FROM rollup.user_monthly AS m
        WHERE month = ANY(%(window)s) AND credits_deducted > round(total_cost, %(scale)s)
          AND NOT EXISTS (SELECT FROM usage_daily AS u WHERE u.user_id = m.user_id AND u.id = ANY(%(reported)s))
          AND NOT EXISTS (SELECT FROM rollup.credit_draws AS d WHERE d.user_id = m.user_id AND d.revision = 0)""",
    "transactions are the ledger's": f"""
        SELECT user_id, t.amount, d.amount
        FROM (SELECT user_id, sum(amount) AS amount FROM credit_transactions AS t WHERE {OURS} GROUP BY 1) AS t
        FULL JOIN (SELECT user_id, sum(free + purchased) AS amount FROM rollup.credit_draws WHERE revision > 0
                   GROUP BY 1) AS d USING (user_id)
        WHERE coalesce(t.amount, 0) <> -coalesce(d.amount, 0)""",
    "balance_after is balance_before and the amount": f"""
        SELECT id FROM credit_transactions AS t
        WHERE {OURS} AND (balance_after <> balance_before + amount OR amount = 0)""",
    "we make no balance negative": f"""
        SELECT id FROM (
          SELECT *, first_value(balance_before) OVER (
            PARTITION BY user_id, metadata->>'run_id' ORDER BY created_at, t.ctid) AS began
          FROM credit_transactions AS t WHERE {OURS}) AS t
        WHERE balance_after < least(0, began)""",
    "each balance begins where the one before ended": """
        SELECT id FROM (
          SELECT *, lag(balance_after) OVER (PARTITION BY user_id ORDER BY created_at, t.ctid) AS ended
          FROM credit_transactions AS t) AS t
        WHERE balance_before <> ended""",
    "the last balance is the account's": """
        SELECT c.user_id, t.balance_after FROM user_credits AS c JOIN (
          SELECT DISTINCT ON (user_id) user_id, balance_after
          FROM credit_transactions AS t ORDER BY user_id, created_at DESC, t.ctid DESC) AS t USING (user_id)
        WHERE t.balance_after <> c.total_purchased + c.free_credits_granted - c.total_used
          - coalesce((to_jsonb(c)->>'free_credits_used')::numeric, 0)""",
}


def hold(link: Link, others: Others) -> None:
    """Every law of LAWS."""
    credits = others.credits
    values = {
        "window": credits.covered,
        "last": credits.book.last_day,
        "scale": credits.terms.scale,
        "reported": list(others.reported),
    }
    with link.transaction(), link.pipeline():
        found = {law: link.execute(query.encode(), values) for law, query in LAWS.items()}
        broken = {law: rows for law, cursor in found.items() if (rows := cursor.fetchall())}
    assert not broken, broken


def agree(link: Link, others: Others) -> None:
    """Every figure that the oracle knows."""
    credits = others.credits
    book = credits.book
    _same(_rows(link, "user_daily", "date", "user_id", "cluster_id"), book.user_daily)
    _same(_rows(link, "user_monthly", "month", "user_id"), book.user_monthly)
    _same(_rows(link, "cluster_daily", "date", "cluster_id"), book.cluster_daily)
    _same(_rows(link, "cluster_monthly", "month", "cluster_id"), book.cluster_monthly)
    found = link.execute("SELECT month, closed_at IS NOT NULL FROM rollup.months").fetchall()
    assert dict(found) == {month: figures.closed for month, figures in book.months.items()}
    _ledger(link, credits)
    _debts(link, credits)
    _usage(link, others)
    _accounts(link, credits)
    _posted(link, credits)


def _rows(link: Link, table: str, *key: str) -> dict[Key, dict[str, Any]]:
    query = sql.SQL("SELECT * FROM rollup.{}").format(sql.Identifier(table))
    found = link.cursor(row_factory=dict_row).execute(query).fetchall()
    return {tuple(row[name] for name in key): row for row in found}


def _same(found: Mapping[Key, Mapping[str, Any]], expected: Mapping[Any, Figures]) -> None:
    assert found.keys() == expected.keys()
    for key, figures in expected.items():
        different = {name: (found[key][name], value) for name, value in figures.items() if found[key][name] != value}
        assert not different, (key, "found, expected:", different)


def _ledger(link: Link, credits: CreditBook) -> None:
    """Net draws by row, user and month; how many revisions they took is nobody's business."""
    query = (
        "SELECT usage_daily_id, user_id, date_trunc('month', usage_date)::date, sum(free), sum(purchased)"
        " FROM rollup.credit_draws GROUP BY 1, 2, 3 HAVING sum(free) <> 0 OR sum(purchased) <> 0"
    )
    found = {(row, user, month): (Fraction(f), Fraction(p)) for row, user, month, f, p in link.execute(query)}
    assert found == {key: (n.free, n.purchased) for key, n in credits.net().items() if n != NOTHING}


def _debts(link: Link, credits: CreditBook) -> None:
    """What is owed by row and user; how much of it was settled is in the ledger."""
    query = (
        "SELECT usage_daily_id, user_id, usage_date, amount - settled - written_off FROM rollup.debts"
        " JOIN rollup.months ON month = date_trunc('month', usage_date)::date AND closed_at IS NOT NULL"
    )
    found = {(row, user, day): Fraction(left) for row, user, day, left in link.execute(query) if left}
    expected = {key: debt.open for key, debt in credits.debts.items() if debt.open}
    assert found == expected, ("found, expected:", found.items() - expected.items(), expected.items() - found.items())


def _usage(link: Link, others: Others) -> None:
    """usage_daily.credits_deducted, and total_cost, which rated months write."""
    found = link.execute("SELECT id, coalesce(credits_deducted, 0), total_cost FROM usage_daily").fetchall()
    deducted = others.credits.deducted
    assert {id_: Fraction(value) for id_, value, _ in found} == {id_: deducted.get(id_, 0) for id_ in others.rows}
    assert {id_: cost for id_, _, cost in found} == {id_: row.total_cost for id_, row in others.rows.items()}


def _accounts(link: Link, credits: CreditBook) -> None:
    found = {row["user_id"]: row for row in link.cursor(row_factory=dict_row).execute("SELECT * FROM user_credits")}
    assert found.keys() == credits.accounts.keys()
    for user, account in credits.accounts.items():
        numbers = {name: getattr(account, name) for name in NUMBERS if getattr(account, name) is not None}
        assert {name: Fraction(found[user][NUMBERS[name]]) for name in numbers} == numbers, user


def _posted(link: Link, credits: CreditBook) -> None:
    """Who was told what about which row or month; and the history of modes."""
    query = (
        "SELECT user_id, amount, coalesce(metadata->>'usage_daily_id', left(metadata->>'month', 7))"
        f" FROM credit_transactions AS t WHERE {OURS}"
    )
    found = Counter((user, Fraction(amount), about) for user, amount, about in link.execute(query.encode()))
    expected = Counter(
        (one.user, one.amount, f"{one.about:%Y-%m}" if isinstance(one.about, date) else str(one.about))
        for one in credits.posted
    )
    assert found == expected
    modes: dict[str, list[tuple[date, str | None]]] = {}
    for user, since, mode in link.execute("SELECT user_id, valid_from, mode FROM rollup.billing_modes ORDER BY 2"):
        modes.setdefault(user, []).append((since, mode))
    assert modes == credits.modes


def everything(link: Link) -> dict[str, list[Any]]:
    """Every row of every table, as text."""
    tables = link.execute(
        "SELECT schemaname || '.' || tablename FROM pg_tables WHERE schemaname IN ('public', 'rollup')"
    ).fetchall()
    queries = {name: f"SELECT t::text FROM {name} AS t ORDER BY 1" for (name,) in tables}
    with link.transaction(), link.pipeline():
        cursors = {name: link.execute(query.encode()) for name, query in queries.items()}
        return {name: cursor.fetchall() for name, cursor in cursors.items()}


def closed_totals(link: Link) -> dict[Key, Key]:
    """What user-months of closed months cost, and how that is paid."""
    query = (
        "SELECT u.month, u.user_id, u.total_cost, credits_deducted, uncovered, amount_due, amount_reported"
        " FROM rollup.user_monthly AS u JOIN rollup.months AS m ON m.month = u.month AND m.closed_at IS NOT NULL"
    )
    return {(month, user): tuple(sums) for month, user, *sums in link.execute(query.encode())}


def corrected(link: Link, report: Report, before: Mapping[Key, Key]) -> None:
    """Each user-month of a closed month that costs or pays something else now is in rollup.corrections, old and new."""
    names = ("total", "credits_deducted", "uncovered", "amount_due", "amount_reported")
    sides = (", ".join(f"{when}_{name}" for name in names) for when in ("old", "new"))
    arrays = ", ".join(f"ARRAY[{side}]" for side in sides)
    query = f"SELECT month, user_id, cause, {arrays} FROM rollup.corrections WHERE run_id = %s"
    rows = link.execute(query.encode(), [report.run_id])
    found = {(month, user): (tuple(old), tuple(new), cause) for month, user, cause, old, new in rows}
    after, nothing = closed_totals(link), (Decimal(0),) * len(names)
    closed = {month.month for month in report.plan.months if month.closed} if report.plan else set()
    for key in {*before, *after} - found.keys():
        assert key[0] not in closed or before.get(key) == after.get(key), key
    for key, (then, now, cause) in found.items():
        assert key[0] in closed or cause == "credit"  # a debt of a month that is not this backfill's
        assert (then, now) == (before.get(key, nothing), after.get(key, nothing)) or key not in {*before, *after}, key
        assert set(cause.split("+")) <= {"usage", "price", "override", "credit"}
