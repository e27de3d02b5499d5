"""Reads the ledger (``rollup.credit_draws``), compares it with our transactions, and writes ``rollup.corrections``.

``accounts.post_draws`` adds to the ledger. Parameter ``table`` below: the ledger, or in a dry run that would adopt the
subquery of ``adoption.adoptable_draws_query``.
"""

from collections.abc import Collection
from decimal import Decimal

import polars as pl
from psycopg import sql

from jobs.domain.fixed_point import scaled
from jobs.domain.rules import LOTS
from jobs.postgres import table_io
from jobs.postgres.connections import Connection
from jobs.postgres.errors import name_refusals
from jobs.postgres.sql_loader import column_list, compose, join_columns, text_array
from jobs.settings import Settings


def read_drawn_by_row(
    connection: Connection, table: sql.Composable, users: Collection[str]
) -> dict[tuple[str, int], tuple[int, int]]:
    """Returns the draws of ``users`` in all months by user and row, in the order of LOTS (units of 10^-10)."""
    lots = join_columns("sum({})", LOTS)
    rows = connection.execute(compose("ledger.drawn_by_row", draws=table, users=text_array(users), lots=lots))
    return {(user, id_.int): (scaled(first), scaled(second)) for user, id_, first, second in rows}


def compare_transactions(
    connection: Connection, settings: Settings, users: Collection[str]
) -> dict[str, tuple[Decimal | None, Decimal | None]]:
    """Returns by user the sum of the ledger and the sum of our transactions; None where there are none."""
    of_users = sql.SQL("user_id = ANY({})").format(text_array(users))
    found = connection.execute(
        ledger_and_transactions_query(settings, which_entries=of_users, which_transactions=of_users)
    )
    return {user: (drawn, posted) for user, drawn, posted in found}


def ledger_and_transactions_query(
    settings: Settings, *, which_entries: sql.Composable, which_transactions: sql.Composable
) -> sql.Composed:
    """Returns the query that compares both sums by user. ``which_entries``, ``which_transactions``: conditions."""
    return compose(
        "ledger.ledger_and_transactions",
        settings,
        ours=our_transactions_condition(settings),
        which_entries=which_entries,
        which_transactions=which_transactions,
    )


def our_transactions_condition(settings: Settings) -> sql.Composed:
    """Returns the condition that a transaction was posted by a run of this schema."""
    return compose("ledger.our_transactions", settings, schema=sql.Literal(settings.rollup_schema))


def append_corrections(
    connection: Connection, settings: Settings, rows: pl.DataFrame, reason: str | None, run_id: int
) -> None:
    """Adds ``rows`` (rollups.causes) to rollup.corrections, in the caller's transaction."""
    if rows.is_empty():
        return
    stage = table_io.stage_rows(connection, "corrections", rows)
    text = compose("ledger.append_corrections", settings, columns=column_list(rows.columns), stage=stage)
    with name_refusals(f"{settings.rollup_schema}.corrections"):
        connection.execute(text, {"reason": reason, "run_id": run_id})
