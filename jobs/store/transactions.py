"""Our transactions in credit_transactions, and what they say beside the ledger."""

from collections.abc import Collection
from decimal import Decimal

from psycopg import sql

from jobs.settings import Settings
from jobs.store.database import Connection
from jobs.store.statements import listed, own, source, statement


def compare_transactions(
    connection: Connection, settings: Settings, users: Collection[str]
) -> dict[str, tuple[Decimal | None, Decimal | None]]:
    """What the ledger and what our transactions say that ``users`` have paid in all; None where they say nothing."""
    of_users = sql.SQL("user_id = ANY({})").format(listed(users))
    found = connection.execute(ledger_and_transactions(settings, drawn=of_users, posted=of_users))
    return {user: (drawn, posted) for user, drawn, posted in found}


def ledger_and_transactions(settings: Settings, *, drawn: sql.Composable, posted: sql.Composable) -> sql.Composed:
    """The query that compares both by user; ``drawn``, ``posted``: which entries and which transactions."""
    return statement(
        "ledger_and_transactions",
        draws=own(settings, "credit_draws"),
        transactions=source(settings, "credit_transactions"),
        ours=our_transactions(settings),
        drawn=drawn,
        posted=posted,
    )


def our_transactions(settings: Settings) -> sql.Composed:
    """The condition that a transaction is one of this schema's runs."""
    return statement("ours", schema=sql.Literal(settings.rollup_schema), runs=own(settings, "runs"))
