"""What other programs do to a database with credits: the facts as the oracle sees them, beside the statements.

Statements wait in `queue` until `flush`: in the order in which things happened, so that a unique key or a balance
is met as it was at that moment.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Any
from uuid import UUID

import psycopg
from credit_oracle import CreditBook, exact
from credit_values import Account, Facts
from oracle import Override, Row, World
from psycopg import sql
from worlds import Shape, usage

COLUMNS = frozenset({"cpu_hours", "storage_gb"})
NUMBERS = {"purchased": "total_purchased", "used": "total_used", "granted": "free_credits_granted",
           "free_used": "free_credits_used"}  # fmt: skip
"""Columns of user_credits by the oracle's names."""
MOVES = {
    "purchase": ("purchased", 1, "purchase"),
    "grant": ("granted", 1, "grant"),
    "refund": ("used", -1, "refund"),
    "money back": ("purchased", -1, "refund"),
    "spent elsewhere": ("used", 1, "usage"),
}
"""What another client does to an account: the number that changes, its direction, the transaction's type."""


@dataclass
class Others:
    """users, usage, overrides and accounts (these in `credits.accounts`) of a database of that shape."""

    shape: Shape
    credits: CreditBook
    clusters: Mapping[UUID, str | None]
    rows: dict[UUID, Row] = field(default_factory=dict)
    modes: dict[str, str | None] = field(default_factory=dict)
    flags: dict[str, dict[str, Any] | None] = field(default_factory=dict)
    reported: set[UUID] = field(default_factory=set)
    overrides: list[Override] = field(default_factory=list)
    queue: list[tuple[sql.Composed, list[Any]]] = field(default_factory=list)

    @property
    def world(self) -> World:
        users = frozenset(self.modes)
        return World(tuple(self.rows.values()), COLUMNS, tuple(self.overrides), self.clusters, users)

    @property
    def facts(self) -> Facts:
        return Facts(self.world, self.modes, self.flags, frozenset(self.reported))

    def flush(self, link: psycopg.Connection[Any]) -> None:
        with link.transaction(), link.pipeline():
            for query, values in self.queue:
                link.execute(query, values)
        self.queue.clear()

    # Usage

    def free_place(self, row: Row) -> bool:
        """Shape B has one row a user and day."""
        if self.shape == "A":
            return True
        return all((o.user_id, o.date) != (row.user_id, row.date) for o in self.rows.values() if o.id != row.id)

    def put(self, row: Row, deducted: Decimal | None = None) -> None:
        """Inserts or changes a row, where its place is free; `deducted` is what was drawn before we came."""
        if not self.free_place(row):
            return
        values = usage(row, self.world)
        if deducted is not None:
            values["credits_deducted"] = deducted
            self.credits.deducted[row.id] = exact(deducted)
        known, self.rows[row.id] = row.id in self.rows, row
        if known:
            self.update("usage_daily", values, "id", row.id)
        else:
            self.insert("usage_daily", values)

    def change(self, row: Row, **values: Any) -> None:
        self.put(replace(row, **values))

    def delete(self, row: Row) -> None:
        del self.rows[row.id]
        self.reported.discard(row.id)
        self.credits.deducted.pop(row.id, None)
        self.queue.append((sql.SQL("DELETE FROM usage_daily WHERE id = {}").format(sql.Placeholder()), [row.id]))

    def report(self, row: Row, *, reported: bool) -> None:
        (self.reported.add if reported else self.reported.discard)(row.id)
        self.update("usage_daily", {"reported_to_stripe": reported}, "id", row.id)

    # Users and accounts

    def set_user(self, user: str, mode: str | None, flags: dict[str, Any] | None) -> None:
        values = {"billing_mode": mode, "feature_flags": None if flags is None else json.dumps(flags)}
        if user in self.modes:
            self.update("users", values, "id", user)
        else:
            self.insert("users", {"id": user} | values)
        self.modes[user], self.flags[user] = mode, flags

    def open_account(self, user: str, account: Account, values: Mapping[str, Decimal | None]) -> None:
        self.credits.accounts[user] = account
        found = {NUMBERS[name]: value for name, value in values.items() if value is not None}
        self.insert("user_credits", {"user_id": user} | found)

    def move(self, user: str, kind: str, amount: Decimal) -> None:
        """Another client changes an account, and says so in credit_transactions, with the balances as they are."""
        name, sign, type_ = MOVES[kind]
        account = self.credits.accounts[user]
        after = replace(account, **{name: getattr(account, name) + sign * exact(amount)})
        self.credits.accounts[user] = after
        worth = amount if after.balance > account.balance else -amount
        balance = "total_purchased + free_credits_granted - total_used"
        balance += "" if account.free_used is None else " - free_credits_used"
        query = sql.SQL(
            "WITH moved AS (UPDATE user_credits SET {column} = {column} + %s WHERE user_id = %s RETURNING {balance}"
            " AS balance) INSERT INTO credit_transactions (user_id, type, amount, balance_before, balance_after,"
            " created_at) SELECT %s, %s, %s, balance - %s, balance, clock_timestamp() FROM moved"
        ).format(column=sql.Identifier(NUMBERS[name]), balance=sql.SQL(balance))
        self.queue.append((query, [sign * amount, user, user, type_, worth, worth]))

    def override(self, one: Override) -> None:
        """A price of the user's own; shape A starts it at valid_from, B at created_at."""
        self.overrides.append(one)
        names = ["id", "user_id", "resource_type", "override_price", "discount_percentage", "valid_until", "created_at"]
        names.append("valid_from" if self.shape == "A" else "active")
        self.insert("user_pricing_overrides", {name: getattr(one, name) for name in names})

    # Statements

    def insert(self, table: str, values: Mapping[str, Any]) -> None:
        names = sql.SQL(", ").join(map(sql.Identifier, values))
        marks = sql.SQL(", ").join([sql.Placeholder()] * len(values))
        query = sql.SQL("INSERT INTO {} ({}) VALUES ({})").format(sql.Identifier(table), names, marks)
        self.queue.append((query, list(values.values())))

    def update(self, table: str, values: Mapping[str, Any], key: str, value: Any) -> None:
        pairs = sql.SQL(", ").join(sql.SQL("{} = %s").format(sql.Identifier(name)) for name in values)
        query = sql.SQL("UPDATE {} SET {} WHERE {} = %s").format(sql.Identifier(table), pairs, sql.Identifier(key))
        self.queue.append((query, [*values.values(), value]))
