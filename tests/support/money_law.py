"""The law that no money is taken twice and none is forgiven in silence, asked of a database after every step.

For each user and month: drawn (the ledger) + owed (uncovered, or an open debt of a closed month) + written off + due +
reported + free of charge = quantized cost, without what was used before `credits.start`; what a step did not compute
stays as it was. And for each user the account, the ledger and the transactions move by the same amount. No query here
comes from the job.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import date
from decimal import ROUND_HALF_EVEN, Decimal
from typing import Any

import psycopg
from psycopg.rows import class_row

from jobs.domain.run_report import Report

SCALE = Decimal("0.01")
"""Of the ledger and of amounts due, in every shape that histories have."""
NOTHING = Decimal(0)
UserMonth = tuple[str, date]
Key = tuple[Any, str, date]
"""A usage row, a user and a month."""

USER_MONTHS = """
WITH draws AS (
  SELECT usage_daily_id AS id, user_id, date_trunc('month', usage_date)::date AS month, min(usage_date) AS first,
    sum(free + purchased) AS amount, bool_or(imported) AS imported
  FROM rollup.credit_draws GROUP BY 1, 2, 3
), days AS (
  SELECT user_id, date, sum(total_cost) AS cost,
    coalesce((SELECT b.mode FROM rollup.billing_modes AS b
     WHERE b.user_id = d.user_id AND b.valid_from <= d.date ORDER BY b.valid_from DESC LIMIT 1), 'postpaid') AS mode,
    EXISTS (SELECT FROM usage_daily AS u JOIN draws AS i ON (i.id, i.user_id) = (u.id, u.user_id) AND i.imported
      WHERE u.user_id = d.user_id AND u.date = d.date) AS imported
  FROM rollup.user_daily AS d GROUP BY user_id, date
), costs AS (
  SELECT user_id, date_trunc('month', date)::date AS month, sum(cost) AS cost,
    sum(cost) FILTER (WHERE mode = 'prepaid' AND date >= %(start)s) AS prepaid_cost,
    sum(cost) FILTER (WHERE mode = 'free') AS free_cost,
    sum(cost) FILTER (WHERE mode NOT IN ('prepaid', 'free')) AS due_cost,
    sum(cost) FILTER (WHERE imported AND mode <> 'prepaid') AS odd
  FROM days GROUP BY 1, 2
), drawn AS (
  SELECT d.user_id, d.month, sum(d.amount) AS drawn, sum(d.amount) FILTER (
    WHERE (to_jsonb(u) ->> 'reported_to_stripe')::boolean OR a.user_id IS NULL
       OR d.imported AND d.first < %(start)s) AS kept
  FROM draws AS d LEFT JOIN usage_daily AS u ON (u.id, u.user_id) = (d.id, d.user_id)
  LEFT JOIN user_credits AS a ON a.user_id = d.user_id
  GROUP BY 1, 2
), moved AS (
  SELECT u.user_id, date_trunc('month', u.date)::date AS month, sum(d.amount) AS elsewhere
  FROM usage_daily AS u JOIN draws AS d ON (d.id, d.user_id) = (u.id, u.user_id)
  WHERE isfinite(u.date) AND d.month <> date_trunc('month', u.date) AND d.amount > 0
  GROUP BY 1, 2
), reported AS (
  SELECT DISTINCT user_id, date_trunc('month', date)::date AS month FROM usage_daily AS u
  WHERE isfinite(date) AND (to_jsonb(u) ->> 'reported_to_stripe')::boolean
), debts AS (
  SELECT user_id, date_trunc('month', usage_date)::date AS month, sum(amount - settled - written_off) AS open,
    sum(written_off) AS written_off
  FROM rollup.debts GROUP BY 1, 2
)
SELECT user_id, month, o.closed_at IS NOT NULL AS closed, coalesce(m.total_cost, 0) AS total_cost,
  coalesce(cost, 0) AS cost, coalesce(prepaid_cost, 0) AS prepaid_cost, coalesce(free_cost, 0) AS free_cost,
  coalesce(due_cost, 0) AS due_cost, coalesce(odd, 0) AS odd, coalesce(drawn, 0) AS drawn, coalesce(kept, 0) AS kept,
  coalesce(elsewhere, 0) AS elsewhere, r.month IS NOT NULL AS has_reported, coalesce(amount_due, 0) AS due,
  coalesce(amount_reported, 0) AS reported, coalesce(amount_free, 0) AS free,
  coalesce(CASE WHEN o.closed_at IS NULL THEN uncovered ELSE d.open END, 0) AS owed,
  coalesce(CASE WHEN o.closed_at IS NOT NULL THEN d.written_off END, 0) AS written_off
FROM (SELECT user_id, month, total_cost, amount_due, amount_reported, amount_free, uncovered
      FROM rollup.user_monthly) AS m
FULL JOIN costs USING (user_id, month) FULL JOIN drawn USING (user_id, month)
LEFT JOIN moved USING (user_id, month) LEFT JOIN reported AS r USING (user_id, month)
LEFT JOIN debts AS d USING (user_id, month) LEFT JOIN rollup.months AS o USING (month)
"""
USED = """
SELECT user_id, total_used + coalesce((to_jsonb(c) ->> 'free_credits_used')::numeric, 0) AS used FROM user_credits AS c
"""
ACCOUNTS = f"""
SELECT user_id, a.user_id IS NOT NULL, coalesce(a.used, 0), coalesce(d.drawn, 0), coalesce(d.imported, 0),
  coalesce(t.paid, 0)
FROM ({USED}) AS a
FULL JOIN (SELECT user_id, sum(free + purchased) AS drawn, sum(free + purchased) FILTER (WHERE imported) AS imported
           FROM rollup.credit_draws GROUP BY 1) AS d USING (user_id)
FULL JOIN (SELECT user_id, -sum(amount) AS paid FROM credit_transactions
           WHERE type = 'usage' AND metadata ->> 'schema' = 'rollup' GROUP BY 1) AS t USING (user_id)
"""
DEBTS = """
SELECT usage_daily_id, user_id, m.month, m.closed_at IS NOT NULL, amount, settled, written_off
FROM rollup.debts LEFT JOIN rollup.months AS m ON m.month = date_trunc('month', usage_date)::date
"""
OF_USER = ("usage_daily", "user_credits", "credit_transactions", "rollup.user_monthly", "rollup.user_daily",
           "rollup.credit_draws", "rollup.debts")  # fmt: skip


@dataclass(frozen=True)
class Paid:
    """A user-month: what it costs and how that is paid. ``prepaid_cost`` (from `credits.start` on), ``due_cost`` and
    ``free_cost`` are of its days by how the user paid on them; ``odd`` is the cost of days that count as prepaid for an
    imported draw. ``kept``: draws that stay whatever the row costs now; ``elsewhere``: what is drawn, in other months,
    on rows that are in this one now."""

    user_id: str
    month: date
    closed: bool
    total_cost: Decimal
    cost: Decimal
    prepaid_cost: Decimal
    free_cost: Decimal
    due_cost: Decimal
    odd: Decimal
    drawn: Decimal
    kept: Decimal
    elsewhere: Decimal
    has_reported: bool
    due: Decimal
    reported: Decimal
    free: Decimal
    owed: Decimal
    written_off: Decimal

    @property
    def whole(self) -> Decimal:
        return self.drawn + self.owed + self.written_off + self.due + self.reported + self.free

    def balances(self) -> bool:
        """Whether the parts come to the quantized cost: exactly, where nothing of what the class names is there."""
        prepaid, due, free = (
            cost.quantize(SCALE, ROUND_HALF_EVEN) for cost in (self.prepaid_cost, self.due_cost, self.free_cost)
        )
        cost, rounding = prepaid + due + free, 3 * SCALE if self.odd else NOTHING
        least, most = cost - self.elsewhere - self.odd - rounding, cost + self.kept + rounding
        split = self.odd != 0 or (self.free == free and (self.has_reported or self.due == due))
        return self.total_cost == self.cost and split and least <= self.whole <= most


@dataclass(frozen=True)
class Account:
    """``used``: free and purchased credits by the account; ``drawn``: by the ledger, what was ``imported`` included;
    ``paid``: by transactions of ours."""

    exists: bool
    used: Decimal
    drawn: Decimal
    imported: Decimal
    paid: Decimal


NO_ACCOUNT = Account(exists=False, used=NOTHING, drawn=NOTHING, imported=NOTHING, paid=NOTHING)


@dataclass(frozen=True)
class Look:
    """What a database holds of money; ``aside``: who is set aside, with all that tables have of him."""

    months: Mapping[UserMonth, Paid]
    accounts: Mapping[str, Account]
    debts: Mapping[Key, tuple[bool, Decimal, Decimal, Decimal]]
    aside: frozenset[str]
    texts: Mapping[str, list[str]]

    @property
    def strange(self) -> dict[str, Decimal]:
        """By user what his account has used beside the ledger: only other programs change it."""
        return {user: account.used - account.drawn for user, account in self.accounts.items() if account.exists}


def used(url: str) -> dict[str, Decimal]:
    """By user what his account has used, free and purchased."""
    with psycopg.connect(url) as link:
        return dict(link.execute(USED.encode()).fetchall())


def look(url: str, start: date) -> Look:
    """``start``: the first day that is drawn from credits."""
    with psycopg.connect(url) as link:
        months = link.cursor(row_factory=class_row(Paid)).execute(USER_MONTHS.encode(), {"start": start}).fetchall()
        accounts = {user: Account(*values) for user, *values in link.execute(ACCOUNTS.encode())}
        debts = {(row, user, month): tuple(rest) for row, user, month, *rest in link.execute(DEBTS.encode())}
        aside = frozenset(user for (user,) in link.execute("SELECT user_id FROM rollup.set_aside"))
        texts: dict[str, list[str]] = {}
        for table in OF_USER:
            for user, text in link.execute(f"SELECT user_id, t::text FROM {table} AS t ORDER BY 2".encode()):
                texts.setdefault(user, []).append(f"{table} {text}")
    return Look({(each.user_id, each.month): each for each in months}, accounts, debts, aside, texts)


def check(before: Look, after: Look, report: Report | None, adopted: Collection[str] = ()) -> None:
    """Asserts the law of one step: the run or backfill of ``report``; None: a step that computes nothing.

    ``adopted``: users of whom the step took what their rows show into the ledger.
    """
    computed = (report.window_from.replace(day=1), report.window_to) if report else (date.max, date.min)
    wrong: dict[str, list[object]] = {}
    for key in before.months.keys() | after.months.keys():
        then, now = before.months.get(key), after.months.get(key)
        if computed[0] <= key[1] <= computed[1] and key[0] not in after.aside:
            if now is not None and not now.balances():
                wrong.setdefault("the parts come to the quantized cost", []).append((now.whole, then, now))
        elif ((then.total_cost, then.whole) if then else (0, 0)) != ((now.total_cost, now.whole) if now else (0, 0)):
            wrong.setdefault("what is not computed stays as it was", []).append((then, now))
    for user in before.accounts.keys() | after.accounts.keys():
        then_, now_ = (each.accounts.get(user, NO_ACCOUNT) for each in (before, after))
        imported = now_.imported - then_.imported
        moves = (now_.used - then_.used, now_.drawn - then_.drawn - imported, now_.paid - then_.paid)
        if len(set(moves)) > 1 or (imported and user not in adopted):
            wrong.setdefault("account, ledger and transactions move alike", []).append((user, moves, imported))
    for user in after.aside:
        if before.texts.get(user) != after.texts.get(user):
            wrong.setdefault("nothing of who is set aside moves", []).append(user)
    for debt, (closed, amount, settled, written_off) in after.debts.items():
        kept = min(before.debts.get(debt, (closed, amount, settled, NOTHING))[3], amount)
        if min(settled, written_off, amount - settled - written_off) < 0 or (closed and report and written_off != kept):
            wrong.setdefault("write-offs stay, and no debt is settled twice", []).append((debt, after.debts[debt]))
    assert not wrong, wrong
