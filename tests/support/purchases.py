"""A purchase of credit, as the application posts it."""

from decimal import Decimal

import psycopg

RAISE = """
UPDATE user_credits SET total_purchased = total_purchased + %(amount)s WHERE user_id = %(user)s
RETURNING total_purchased + free_credits_granted - total_used - free_credits_used
"""
TELL = """
INSERT INTO credit_transactions (user_id, type, amount, balance_before, balance_after, created_at)
VALUES (%(user)s, 'purchase', %(amount)s, %(balance)s - %(amount)s, %(balance)s, clock_timestamp())
"""


def buy(connection: psycopg.Connection, user: str, amount: Decimal) -> None:
    """The account and the transaction, both in the transaction of ``connection`` or else in one of their own."""
    values: dict[str, object] = {"user": user, "amount": amount}
    with connection.transaction():
        row = connection.execute(RAISE.encode(), values).fetchone()
        assert row is not None, f"{user} has no account"
        connection.execute(TELL.encode(), values | {"balance": row[0]})


def bought(url: str, user: str, amount: Decimal) -> None:
    """A purchase that is committed."""
    with psycopg.connect(url) as connection:
        buy(connection, user, amount)
