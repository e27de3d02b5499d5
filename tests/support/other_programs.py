"""What other programs do to a database between two runs, drawn by Hypothesis and written at once.

The database itself is the model: an edit looks at what is there, changes it by SQL, and remembers nothing. An edit that
a constraint of the shape forbids does not happen.
"""

import json
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import date
from decimal import Decimal
from typing import Any
from uuid import UUID

import psycopg
from credit_cases import AMOUNTS, FLAGS
from hypothesis import strategies as st
from oracle import Options, Override, Row, World
from psycopg import errors, sql
from worlds import COLUMNS, Case, Draw, days, decimals, moments, overrides, quantities, rows, total_costs, usage

FORBIDDEN = (errors.UniqueViolation, errors.NumericValueOutOfRange, errors.ForeignKeyViolation, errors.CheckViolation)
INDEX = st.integers(0, 199)
"""Which of the rows, users or overrides at hand, modulo their number."""
PRICES = decimals("0.1", "0.14", "0.07", "0.0333333333", "0", "0.0000000001", "0.05")
"""Of one unit."""
BALANCE = "total_purchased + free_credits_granted - total_used"


@dataclass
class OtherPrograms:
    """``options`` and ``env`` are the settings that the next run is given."""

    case: Case
    url: str
    options: Options
    env: dict[str, str]
    draw: Draw

    def edit(self) -> None:
        """One edit of any kind."""
        kinds = [name for name, times in EDITS.items() for _ in range(times)]
        self.make(self.draw(st.sampled_from(kinds)))

    def make(self, kind: str) -> None:
        with psycopg.connect(self.url, autocommit=True) as self.link:
            getattr(self, kind)()

    # Usage

    def insert_rows(self) -> None:
        for row in self.draw(st.lists(self._fresh_rows(), min_size=1, max_size=3)):
            self._insert("usage_daily", usage(row, self.case.world))

    def delete_row(self) -> None:
        self._change_row("DELETE FROM usage_daily WHERE id = %s")

    def change_quantity(self) -> None:
        column = self._column()
        value = self.draw(quantities(self.case.shape, column))
        self._change_row(f"UPDATE usage_daily SET {column} = %s::numeric WHERE id = %s", value)

    def swap_null_and_zero(self) -> None:
        """Of every row of a user: a null becomes 0, a 0 null; no result depends on it."""
        column = self._column()
        text = f"UPDATE usage_daily SET {column} = CASE WHEN {column} IS NULL THEN 0 END"
        self._change_user(f"{text} WHERE ({column} IS NULL OR {column} = 0) AND user_id = %s")

    def add_the_same_to_several_rows(self) -> None:
        column = self._column()
        self._change_user(f"UPDATE usage_daily SET {column} = {column} + 1 WHERE {column} < 1000 AND user_id = %s")

    def swap_two_rows(self) -> None:
        """Two rows exchange what they hold in one column; ids stay."""
        column = self.draw(st.sampled_from([self._column(), "date", "user_id", "hopsworks_cluster_id", "total_cost"]))
        one, other = self._row(), self._row()
        text = f"UPDATE usage_daily AS u SET {column} = o.{column} FROM usage_daily AS o"
        self._try(f"{text} WHERE (u.id, o.id) IN ((%s, %s), (%s, %s))", one, other, other, one)

    def change_cost(self) -> None:
        value = self.draw(total_costs(self.case.shape))
        self._change_row("UPDATE usage_daily SET total_cost = %s WHERE id = %s", value)

    def move_to_another_user(self) -> None:
        self._change_row("UPDATE usage_daily SET user_id = %s WHERE id = %s", self.draw(self._fresh_rows()).user_id)

    def move_to_another_day(self) -> None:
        value = self.draw(self._fresh_rows()).date
        self._change_row("UPDATE usage_daily SET date = %s::date WHERE id = %s", value)

    def move_from_a_closed_month(self) -> None:
        """Of a row there, drawn on if there is one, the day becomes one of an open month."""
        query = (
            "SELECT u.id FROM usage_daily AS u JOIN rollup.months AS m ON m.month = date_trunc('month', u.date)"
            " WHERE closed_at IS NOT NULL ORDER BY u.credits_deducted IS DISTINCT FROM 0 DESC, u.id LIMIT 3"
        )
        ids = [id_ for (id_,) in self.link.execute(query)]
        day = self.link.execute("SELECT max(date) FROM rollup.user_daily").fetchone()
        if ids and day:
            self._try("UPDATE usage_daily SET date = %s WHERE id = %s", day[0], ids[self.draw(INDEX) % len(ids)])

    def move_to_another_cluster(self) -> None:
        value = self.draw(self._fresh_rows()).cluster_id
        self._change_row("UPDATE usage_daily SET hopsworks_cluster_id = %s WHERE id = %s", value)

    def take_another_id(self) -> None:
        """As a row that is deleted and inserted anew: no credits are deducted of it yet."""
        text = "UPDATE usage_daily SET id = %s, credits_deducted = 0 WHERE id = %s"
        self._change_row(text, self.draw(st.uuids()))

    def report_rows(self) -> None:
        """Every third row, as of a month that was billed; or they are taken back."""
        if self.case.shape == "B":
            ids = self._ids()[self.draw(INDEX) % 3 :: 3]
            reported = self.draw(st.sampled_from([True, True, False]))
            self._try("UPDATE usage_daily SET reported_to_stripe = %s WHERE id = ANY(%s)", reported, ids)

    def overwrite_deducted(self, first: date, last: date) -> None:
        """Another program writes the column that is ours, on a row that a run has priced on one of these days."""
        query = (
            "SELECT id FROM usage_daily AS u WHERE date BETWEEN %s AND %s AND user_id IS NOT NULL"
            " AND EXISTS (SELECT FROM rollup.months AS m"
            "   WHERE m.month = date_trunc('month', u.date)::date AND m.closed_at IS NULL)"
            " AND NOT EXISTS (SELECT FROM rollup.rejects AS r WHERE r.usage_daily_id = u.id) ORDER BY id"
        )
        value = self.draw(st.sampled_from([None, Decimal(0), Decimal("0.01"), Decimal(7)]))
        with psycopg.connect(self.url, autocommit=True) as self.link:
            if ids := [id_ for (id_,) in self.link.execute(query, [first, last])]:
                id_ = ids[self.draw(INDEX) % len(ids)]
                self._try("UPDATE usage_daily SET credits_deducted = %s WHERE id = %s", value, id_)

    def users(self) -> list[str]:
        """Everybody with usage."""
        with psycopg.connect(self.url) as link:
            return [user for (user,) in link.execute("SELECT DISTINCT user_id FROM usage_daily WHERE user_id > ''")]

    # Prices and settings

    def change_price(self) -> None:
        cards = list(self.options.cards)
        n = self.draw(INDEX) % len(cards)
        price = self.draw(PRICES) * cards[n].per * (20 if cards[n].meter == "storage_gb" else 1)
        cards[n] = replace(cards[n], price=price)
        self.options = replace(self.options, cards=tuple(cards))

    def change_setting(self) -> None:
        other_tiers: dict[str, Any] = {"tiers": "day" if self.options.tiers == "month" else "month"}
        other_zero: dict[str, Any] = {"zero_means": "free" if self.options.zero_means == "unpriced" else "unpriced"}
        limit = {"max_quantity": self.draw(decimals("100", "1e8", "99999.5"))}
        self.options = replace(self.options, **self.draw(st.sampled_from([other_tiers, other_zero, limit])))

    def change_credit_terms(self) -> None:
        season = self.case.season
        values = {"CREDITS__START": [None, str(season), str(season.replace(day=15))], "CREDITS__FEATURE_FLAG": FLAG}
        name = self.draw(st.sampled_from(sorted(values)))
        value = self.draw(st.sampled_from(values[name]))
        self.env.pop(f"USAGE_JOBS_{name}", None)
        self.env |= {} if value is None else {f"USAGE_JOBS_{name}": value}

    def add_override(self) -> None:
        shape = self.case.shape
        times = self.draw(st.lists(moments(days(self.case.season)), min_size=2, max_size=3))
        one: Override = self.draw(overrides(shape, self._users(), times, ("cpu_hours", "storage_gb", "api_calls")))
        names = ["id", "user_id", "resource_type", "override_price", "discount_percentage", "valid_until", "created_at"]
        names.append("valid_from" if shape == "A" else "active")
        self._insert("user_pricing_overrides", {name: getattr(one, name) for name in names})

    def change_override(self) -> None:
        """Another price, another end, or (shape B) switched on or off."""
        change, value = self.draw(
            st.one_of(
                st.tuples(st.just("override_price = %s"), decimals("0.05", "0", "0.1234")),
                st.tuples(st.just("valid_until = %s"), st.one_of(st.none(), moments(days(self.case.season)))),
                st.tuples(st.just("valid_until = coalesce(valid_until, now()), reason = %s"), st.just("none")),
            )
        )
        if self.case.shape == "B" and self.draw(st.booleans()):
            change, value = "active = NOT active, reason = %s", "switched"
        self._change_override(f"UPDATE user_pricing_overrides SET {change} WHERE id = %s", value)

    def end_overrides(self) -> None:
        """Of a user: switched off, where there is no other end; else they end in the middle of the season."""
        end = "active = false, valid_until = %s" if self.case.shape == "B" else "valid_until = %s"
        value = None if self.case.shape == "B" else self.draw(moments(days(self.case.season)))
        self._try(f"UPDATE user_pricing_overrides SET {end} WHERE user_id = %s", value, self._user())

    def delete_override(self) -> None:
        self._change_override("DELETE FROM user_pricing_overrides WHERE id = %s")

    # Users, accounts and clusters

    def move_credit(self) -> None:
        """A purchase, a grant or a refund, with its transaction."""
        column, sign, kind = self.draw(
            st.sampled_from(
                [
                    ("total_purchased", 1, "purchase"),
                    ("total_purchased", 1, "purchase"),
                    ("total_purchased", -1, "refund"),
                    ("free_credits_granted", 1, "grant"),
                    ("total_used", 1, "usage"),
                ]
            )
        )
        amount = sign * self.draw(st.one_of(AMOUNTS[self.case.shape], st.just(Decimal(1000))))
        if user := self._account():
            self._move_credit(user, column, amount, kind)

    def buy_for_a_debtor(self) -> None:
        """A purchase of somebody who owes for a closed month."""
        amount = self.draw(st.one_of(AMOUNTS[self.case.shape], st.just(Decimal(1000))))
        debtors = sorted(self.debtors().intersection(self._accounts()))
        if debtors:
            self._move_credit(debtors[self.draw(INDEX) % len(debtors)], "total_purchased", amount, "purchase")

    def debtors(self) -> set[str]:
        """Who owes for a closed month."""
        query = (
            "SELECT user_id FROM rollup.debts JOIN rollup.months ON month = date_trunc('month', usage_date)"
            " WHERE closed_at IS NOT NULL AND amount > settled + written_off"
        )
        with psycopg.connect(self.url) as link:
            return {user for (user,) in link.execute(query)}

    def buy_for_the_forgotten(self) -> None:
        """A purchase of everybody who is ``forgotten``."""
        for user in self.forgotten():
            self._move_credit(user, "total_purchased", Decimal(10_000), "purchase")

    def forgotten(self, *, with_credit: bool = False) -> set[str]:
        """Who has an account, and owes for a closed month of which a row shows credits that the ledger has not."""
        balance = f"{BALANCE} - coalesce((to_jsonb(a) ->> 'free_credits_used')::numeric, 0)"
        query = (
            f"SELECT d.user_id, {balance} >= 1 AS has_credit FROM rollup.debts AS d"
            " JOIN rollup.months AS m ON m.month = date_trunc('month', d.usage_date) AND m.closed_at IS NOT NULL"
            " JOIN usage_daily AS u ON (u.id, u.user_id, u.date) = (d.usage_daily_id, d.user_id, d.usage_date)"
            " JOIN user_credits AS a ON a.user_id = d.user_id"
            " JOIN rollup.user_daily AS r ON (r.user_id, r.date) = (u.user_id, u.date)"
            " AND r.cluster_id IS NOT DISTINCT FROM u.hopsworks_cluster_id"
            " CROSS JOIN LATERAL (SELECT (to_jsonb(u) ->> 'credits_deducted')::numeric AS shown) AS s"
            " WHERE d.amount > d.settled + d.written_off AND s.shown <> 0 AND s.shown NOT IN ("
            "  SELECT sum(w.free + w.purchased) FROM rollup.credit_draws AS w"
            "  WHERE w.usage_daily_id = u.id GROUP BY GROUPING SETS ((), (w.user_id)))"
            " AND coalesce((to_jsonb(u) ->> 'reported_to_stripe')::boolean, false) IS FALSE"
        )
        with psycopg.connect(self.url) as link:
            return {user for user, has_credit in link.execute(query.encode()) if has_credit or not with_credit}

    def _move_credit(self, user: str, column: str, amount: Decimal, kind: str) -> None:
        worth = -amount if column == "total_used" else amount
        balance = BALANCE + (" - free_credits_used" if self._counts_free() else "")
        text = (
            f"WITH moved AS (UPDATE user_credits SET {column} = {column} + %s WHERE user_id = %s"
            f" RETURNING {balance} AS balance) INSERT INTO credit_transactions"
            " (user_id, type, amount, balance_before, balance_after, created_at)"
            " SELECT %s, %s, %s, balance - %s, balance, clock_timestamp() FROM moved"
        )
        self._try(text, amount, user, user, kind, worth, worth)

    def edit_account(self) -> None:
        """By hand, without a transaction: purchased credit becomes granted, or the other way round."""
        amount = self.draw(st.sampled_from([Decimal(1), Decimal(-1), Decimal("0.5")]))
        text = "total_purchased = total_purchased - %s, free_credits_granted = free_credits_granted + %s"
        self._try(f"UPDATE user_credits SET {text} WHERE user_id = %s", amount, amount, self._account())

    def open_account(self) -> None:
        users = [user for user in self._users() if user not in self._accounts()]
        if users:
            user = users[self.draw(INDEX) % len(users)]
            amount = self.draw(st.one_of(AMOUNTS[self.case.shape], st.just(Decimal(1000))))
            self._insert("user_credits", {"user_id": user, "total_purchased": amount, "free_credits_granted": 1})

    def switch_mode(self) -> None:
        modes = ["prepaid"] * 3 + ["postpaid", None] + (["free"] if self.case.shape == "B" else [])
        mode = self.draw(st.sampled_from(modes))
        self._try("UPDATE users SET billing_mode = %s WHERE id = %s", mode, self._user())

    def switch_flag(self) -> None:
        flags = self.draw(FLAGS)
        value = None if flags is None else json.dumps(flags)
        self._try("UPDATE users SET feature_flags = %s WHERE id = %s", value, self._user())

    def rename_cluster(self) -> None:
        if clusters := sorted(self.case.world.clusters):
            cluster = clusters[self.draw(INDEX) % len(clusters)]
            name = self.draw(st.sampled_from(["north", "south", None]))
            self._try("UPDATE hopsworks_clusters SET name = %s WHERE id = %s", name, cluster)

    # What is there

    def _ids(self) -> list[UUID]:
        return [id_ for (id_,) in self.link.execute("SELECT id FROM usage_daily ORDER BY id")]

    def _row(self) -> UUID | None:
        ids = self._ids()
        return ids[self.draw(INDEX) % len(ids)] if ids else None

    def _users(self) -> Sequence[str]:
        return sorted(self.case.world.users)

    def _user(self) -> str:
        users = self._users()
        n: int = self.draw(INDEX)
        return users[n % len(users)]

    def _accounts(self) -> list[str]:
        return [user for (user,) in self.link.execute("SELECT user_id FROM user_credits ORDER BY 1")]

    def _account(self) -> str | None:
        accounts = self._accounts()
        return accounts[self.draw(INDEX) % len(accounts)] if accounts else None

    def _column(self) -> str:
        column: str = self.draw(st.sampled_from(sorted(COLUMNS[self.case.shape])))
        return column

    def _counts_free(self) -> bool:
        query = "SELECT FROM information_schema.columns WHERE column_name = 'free_credits_used'"
        return self.link.execute(query).fetchone() is not None

    def _fresh_rows(self) -> st.SearchStrategy[Row]:
        case = self.case
        return rows(case.shape, days(case.season), sorted(case.world.clusters), self._users())

    # Statements

    def _change_row(self, text: str, *values: object) -> None:
        if (id_ := self._row()) is not None:
            self._try(text, *values, id_)

    def _change_user(self, text: str) -> None:
        self._try(text, self._user())

    def _change_override(self, text: str, *values: object) -> None:
        ids = self.link.execute("SELECT id FROM user_pricing_overrides ORDER BY id").fetchall()
        if ids:
            self._try(text, *values, *ids[self.draw(INDEX) % len(ids)])

    def _insert(self, table: str, values: dict[str, Any]) -> None:
        query = sql.SQL("INSERT INTO {} ({}) VALUES ({})").format(
            sql.Identifier(table),
            sql.SQL(", ").join(map(sql.Identifier, values)),
            sql.SQL(", ").join(sql.Placeholder() * len(values)),
        )
        with suppress(*FORBIDDEN):
            self.link.execute(query, list(values.values()))

    def _try(self, text: str, *values: object) -> None:
        with suppress(*FORBIDDEN):
            self.link.execute(text.encode(), values)


FLAG = [None, "prepaid"]
EDITS = {
    "insert_rows": 3,
    "delete_row": 1,
    "change_quantity": 3,
    "swap_null_and_zero": 1,
    "add_the_same_to_several_rows": 1,
    "swap_two_rows": 2,
    "change_cost": 2,
    "move_to_another_user": 1,
    "move_to_another_day": 2,
    "move_to_another_cluster": 1,
    "take_another_id": 1,
    "report_rows": 1,
    "change_price": 1,
    "change_setting": 1,
    "change_credit_terms": 1,
    "add_override": 1,
    "change_override": 1,
    "delete_override": 1,
    "move_credit": 4,
    "edit_account": 1,
    "open_account": 1,
    "switch_mode": 2,
    "switch_flag": 1,
    "rename_cluster": 1,
}
"""Edits by the names of the methods, and how often each is drawn beside the others."""


def peopled(link: psycopg.Connection[Any], world: World, draw: Draw, case: Case) -> None:
    """Accounts for most users, some with next to nothing, some with plenty; billing modes beside those of the world."""
    for user in sorted(world.users):
        amounts = {
            name: draw(st.one_of(AMOUNTS[case.shape], st.sampled_from([Decimal(0), Decimal(1000), Decimal(10**6)])))
            for name in ("total_purchased", "free_credits_granted")
        }
        if draw(st.integers(0, 4)) != 2:
            text = "INSERT INTO user_credits (user_id, total_purchased, free_credits_granted) VALUES (%s, %s, %s)"
            link.execute(text, [user, *amounts.values()])
        if draw(st.booleans()):
            link.execute("UPDATE users SET billing_mode = 'prepaid' WHERE id = %s", [user])


def first_day(case: Case, draw: Draw) -> date:
    """The day of the first run: near the end of the season's first or second month."""
    return case.season.fromordinal(case.season.toordinal() + draw(st.sampled_from([27, 30, 31, 33, 45, 59])))
