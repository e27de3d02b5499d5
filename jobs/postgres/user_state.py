"""Reads what is stored about users: billing modes, the ledger (``rollup.credit_draws``), debts, and their roll-ups.

``accounts`` adds to the ledger. Only runs write the tables of the job, one run at a time, so they can be read before
anything is locked.
"""

from collections.abc import Collection, Sequence
from datetime import date
from decimal import Decimal

import polars as pl
from psycopg import sql

from jobs.domain.billing_periods import month_spans
from jobs.domain.fixed_point import scaled
from jobs.domain.rules import LOTS
from jobs.domain.schemas import BILLING_MODE_ENTRIES, DRAWN, DRAWS, MISMATCHED, PAYABLE, USER_AS_CATEGORY
from jobs.postgres import adoption, billing_mode_history, debts, table_io
from jobs.postgres.connections import Connection
from jobs.postgres.run_scope import RunScope
from jobs.postgres.sql_loader import compose, in_spans, job_table, join_columns, text_array
from jobs.settings import Settings


def read_billing_modes(connection: Connection, scope: RunScope, users: Collection[str]) -> pl.DataFrame:
    """Returns the billing-mode history of ``users`` (schemas.BILLING_MODE_ENTRIES).

    ``is_new``: not yet in rollup.billing_modes.
    """
    rows = connection.execute(billing_mode_history.entries_query(scope, users)).fetchall()
    return pl.DataFrame(rows, schema={**BILLING_MODE_ENTRIES, "is_new": pl.Boolean}, orient="row")


def read_window_draws(connection: Connection, scope: RunScope, users: Collection[str]) -> pl.DataFrame:
    """Returns the draws of ``users`` in the months of the window (schemas.DRAWS)."""
    if not scope.credits.has_accounts:
        return pl.DataFrame(schema=DRAWS)
    days = in_spans("usage_date", month_spans(scope.window.months))
    draws, some = ledger_table(scope), text_array(users)
    return table_io.read_frame(connection, compose("ledger.draws", draws=draws, users=some, days=days), DRAWS)


def read_adopted_elsewhere(connection: Connection, scope: RunScope, users: Collection[str]) -> pl.DataFrame:
    """Returns the rows of ``users`` that have adopted draws in a month outside the window, reversed or not: id,
    user_id."""
    schema = {name: DRAWS[name] for name in ("id", "user_id")}
    if not scope.credits.has_accounts or not users:
        return pl.DataFrame(schema=schema)
    months, some = [str(month) for month in scope.window.months], text_array(users)
    text = compose("ledger.adopted_elsewhere", draws=ledger_table(scope), users=some, months=months)
    return table_io.read_frame(connection, text, schema)


def ledger_table(scope: RunScope) -> sql.Composable:
    """Returns the ledger; where draws only count as adopted (``RunScope.adopts``), a subquery with their entries."""
    if scope.adopts:
        return adoption.adoptable_draws_query(scope.settings, scope.credits)
    return job_table(scope.settings, "credit_draws")


def find_mismatched_rows(
    connection: Connection, scope: RunScope, rows: pl.DataFrame, draws: pl.DataFrame
) -> pl.DataFrame:
    """Returns rows whose credits_deducted differs from the sum of their user's ``draws`` in the window.

    ``rows``: id, user_id, date, deducted. Returns schemas.MISMATCHED.
    """
    if not scope.credits.writes_deducted:
        return pl.DataFrame(schema=MISMATCHED)
    sums = draws.lazy().group_by("id", USER_AS_CATEGORY).agg(DRAWN.sum().alias("drawn_in_window"))
    read = pl.col("deducted").cast(pl.Int128)
    shown = rows.lazy().select("id", "user_id", "date", "deducted")  # a join copies every column
    found = (
        shown.join(sums, on=["id", "user_id"], how="left")
        .filter(read.ne_missing(pl.col("drawn_in_window").fill_null(0)))
        .collect()
    )
    return _classify_mismatches(connection, scope, found)


def find_mismatched_debts(connection: Connection, scope: RunScope, payable: pl.DataFrame) -> pl.DataFrame:
    """Returns the debts (schemas.PAYABLE) whose row does not show its draws in the ledger (schemas.MISMATCHED)."""
    if payable.is_empty() or not scope.credits.writes_deducted:
        return pl.DataFrame(schema=MISMATCHED)
    different = payable.filter(pl.col("deducted").ne_missing(pl.col("drawn")))
    return _classify_mismatches(connection, scope, different.select("id", USER_AS_CATEGORY, "date", "deducted"))


def _classify_mismatches(connection: Connection, scope: RunScope, found: pl.DataFrame) -> pl.DataFrame:
    """Returns ``found`` (id, user_id, date, deducted) as MISMATCHED."""
    if found.is_empty():
        return pl.DataFrame(schema=MISMATCHED)
    values = table_io.to_server(found.select("id", "user_id", pl.col("deducted").cast(pl.Int128)))
    text = compose("ledger.mismatched_rows", scope.settings, draws=ledger_table(scope))
    rows = connection.execute(
        text,
        values.to_dict(as_series=False) | {"window": list(scope.window.months), "begins_ledger": scope.begins_ledger},
    ).fetchall()
    classified = pl.DataFrame(
        [(id_.int, scaled(drawn), scaled(elsewhere), *kinds) for id_, drawn, elsewhere, *kinds in rows],
        {"id": pl.UInt128, "drawn": pl.Int128, "elsewhere": pl.Int128, "foreign": pl.Boolean, "empty": pl.Boolean},
        orient="row",
    )
    joined = found.join(classified, on="id", maintain_order="left")
    return joined.select(pl.col(name).cast(kind) for name, kind in MISMATCHED.items())


def read_debts(connection: Connection, scope: RunScope, users: Collection[str]) -> pl.DataFrame:
    """Returns the debts of ``users`` in months that are closed, or that the run closes."""
    of = table_io.find_table(scope.settings, "debts")
    months = sorted(scope.window.debt_months)
    text = compose("debts.stored", scope.settings, users=text_array(users), rewritten=months)
    return table_io.read_frame(connection, text, table_io.frame_schema(of, of.computed))


def read_payable_debts(
    connection: Connection, scope: RunScope, users: Collection[str], run_id: int | None
) -> pl.DataFrame:
    """Returns the debts of ``users`` that credit can settle now (schemas.PAYABLE), oldest first."""
    text = debts.payable_query(scope, sql.SQL("d.user_id = ANY({})").format(text_array(users)), run_id)
    return table_io.read_frame(connection, text, PAYABLE).sort("user_id", "date", "id")


def read_months(
    connection: Connection, scope: RunScope, months: Collection[date], users: Collection[str]
) -> pl.DataFrame:
    """Returns the rows of user_monthly of ``users`` in ``months``."""
    of = table_io.find_table(scope.settings, "user_monthly")
    return table_io.read_months(connection, scope.settings, of, months, users)


def read_days(connection: Connection, scope: RunScope, days: Sequence[date], users: Collection[str]) -> pl.DataFrame:
    """Returns the rows of user_daily of ``users`` on ``days``.

    The condition names each day, because the primary key begins with the day.
    """
    named = [day.isoformat() for day in days]
    condition = sql.SQL("date = ANY({}::date[]) AND user_id = ANY({})").format(named, text_array(users))
    return table_io.read_rows(connection, scope.settings, table_io.find_table(scope.settings, "user_daily"), condition)


def read_drawn_by_row(
    connection: Connection, table: sql.Composable, users: Collection[str]
) -> dict[tuple[str, int], tuple[int, int]]:
    """Returns the draws of ``users`` in all months by user and row, in the order of LOTS (units of 10^-10).

    ``table``: of ``ledger_table``.
    """
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
    return compose("ledger.our_transactions", settings, schema=settings.rollup_schema)
