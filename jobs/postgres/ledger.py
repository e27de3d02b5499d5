"""Reads the ledger (``rollup.credit_draws``), compares it with our transactions, and writes ``rollup.corrections``.

``accounts.post_draws`` adds to the ledger. Parameter ``table`` below: the ledger, or in a dry run that would adopt the
subquery of ``adoption.adoptable_draws_query``.
"""

from collections.abc import Collection, Iterable
from datetime import date
from decimal import Decimal
from uuid import UUID

import polars as pl
from psycopg import sql

from jobs.domain.billing_periods import month_spans
from jobs.domain.fixed_point import scaled
from jobs.domain.schemas import DRAWS
from jobs.postgres import table_io
from jobs.postgres.connections import Connection
from jobs.postgres.errors import name_refusals
from jobs.postgres.sql_loader import column_list, compose, in_spans, text_array
from jobs.settings import Settings

ROWS: dict[str, pl.DataType | type[pl.DataType]] = {"id": pl.UInt128, "user_id": pl.String}
"""Columns of a result: row of usage_daily, and the user of its draws."""


def read_draws(
    connection: Connection, settings: Settings, table: sql.Composable, months: Iterable[date], users: Collection[str]
) -> pl.DataFrame:
    """Returns the draws of ``users`` in ``months`` as schemas.DRAWS. Needs an open transaction."""
    of = table_io.find_table(settings, "credit_draws")
    # A condition for table_io.read, which composes the query; COPY takes no bound values.
    rows = sql.SQL("user_id = ANY({}) AND {}").format(text_array(users), in_spans("usage_date", month_spans(months)))
    names = {"usage_daily_id": "id", "usage_date": "date"}
    columns = ["usage_daily_id", "user_id", "usage_date", "imported", "free", "purchased"]
    found = pl.concat(table_io.read(connection, of, columns, table, rows))
    return found.rename(names).select(pl.col(name).cast(kind) for name, kind in DRAWS.items())


def read_adopted_elsewhere(
    connection: Connection, table: sql.Composable, months: Collection[date], users: Collection[str]
) -> pl.DataFrame:
    """Returns rows of ``users`` that have adopted draws in months other than these (ROWS), reversed or not."""
    text = compose("ledger.adopted_elsewhere", draws=table, users=text_array(users))
    rows = connection.execute(text, {"months": list(months)})
    return pl.DataFrame([(id_.int, user) for id_, user in rows], schema=ROWS, orient="row")


def read_drawn_by_row(
    connection: Connection, table: sql.Composable, users: Collection[str]
) -> dict[tuple[str, int], tuple[int, int]]:
    """Returns the draws of ``users`` in all months by user and row: free and purchased (units of 10^-10)."""
    rows = connection.execute(compose("ledger.drawn_by_row", draws=table, users=text_array(users)))
    return {(user, id_.int): (scaled(free), scaled(purchased)) for user, id_, free, purchased in rows}


def read_totals_of_rows(
    connection: Connection, settings: Settings, table: sql.Composable, ids: Collection[int], window: Collection[date]
) -> pl.DataFrame:
    """Returns sums of ledger entries of all months by row and user (units of 10^-10).

    - ``drawn``: the sum of all entries
    - ``before``: the sum before the newest entry
    - ``elsewhere``: the part of ``drawn`` in closed months outside ``window``
    """
    text = compose("ledger.drawn_of_rows", settings, draws=table)
    values = {"ids": [UUID(int=id_) for id_ in ids], "window": list(window)}
    rows = connection.execute(text, values).fetchall() if ids else []
    found = [
        (id_.int, user, scaled(amount), scaled(before), scaled(elsewhere))
        for id_, user, amount, before, elsewhere in rows
    ]
    schema = ROWS | dict.fromkeys(("drawn", "before", "elsewhere"), pl.Int128)
    return pl.DataFrame(found, schema=schema, orient="row")


def compare_transactions(
    connection: Connection, settings: Settings, users: Collection[str]
) -> dict[str, tuple[Decimal | None, Decimal | None]]:
    """Returns by user the sum of the ledger and the sum of our transactions; None where there are none."""
    of_users = sql.SQL("user_id = ANY({})").format(text_array(users))
    found = connection.execute(ledger_and_transactions_query(settings, drawn=of_users, posted=of_users))
    return {user: (drawn, posted) for user, drawn, posted in found}


def ledger_and_transactions_query(settings: Settings, *, drawn: sql.Composable, posted: sql.Composable) -> sql.Composed:
    """Returns the query that compares both sums by user. ``drawn``, ``posted``: conditions on either table."""
    return compose(
        "ledger.ledger_and_transactions",
        settings,
        ours=our_transactions_condition(settings),
        drawn=drawn,
        posted=posted,
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
    stage = table_io.stage_rows(connection, settings, table_io.find_table(settings, "corrections"), rows)
    text = compose("ledger.append_corrections", settings, columns=column_list(rows.columns), stage=stage)
    with name_refusals(f"{settings.rollup_schema}.corrections"):
        connection.execute(text, {"reason": reason, "run_id": run_id})
