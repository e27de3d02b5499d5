"""Reads the users of a batch and rates their rows. Takes no locks."""

from collections.abc import Collection
from dataclasses import replace
from datetime import date

import polars as pl

from jobs.domain.billing_periods import Window
from jobs.domain.schemas import DRAWS, IS_DRAWN, PAYABLE, ROW_KEY, USER_AS_CATEGORY
from jobs.pipeline import unexplained_credits
from jobs.pipeline.batch_input import BatchInput
from jobs.postgres import user_state
from jobs.postgres.connections import Connection, transaction
from jobs.postgres.run_scope import RunScope
from jobs.postgres.usage_reader import Reader
from jobs.rating.charges import rate_rows


def rate_users(
    connection: Connection,
    reader: Reader,
    scope: RunScope,
    users: Collection[str],
    spans: Collection[tuple[date, date]],
) -> pl.DataFrame:
    """Returns the rated rows of ``users`` on the days of ``spans``. Call inside a transaction."""
    usage = reader.read(connection, scope.query, scope.query.rows_of_users(users, spans))
    return _split_and_rate(usage, scope)[0]


def _split_and_rate(usage: pl.DataFrame, scope: RunScope) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Returns the rated rows of ``usage``, and the rows that cannot be priced."""
    rejected = usage.filter(~_is_priceable(scope)).with_columns(USER_AS_CATEGORY)
    priceable = usage if rejected.is_empty() else usage.filter(_is_priceable(scope))
    return rate_rows(priceable.lazy(), scope.pricing_terms, scope.cost_rules), rejected


def _is_priceable(scope: RunScope) -> pl.Expr:
    """Whether a row can be priced: its quantities are within bounds, and its recorded cost is, unless a run wrote it.

    The reading query marks a value out of bounds by -1.
    """
    values = [pl.col(meter.name) >= 0 for meter in scope.meters]
    is_rated_month = pl.col("date").dt.month_start().is_in(sorted(scope.cost_rules.rated))
    return pl.all_horizontal((pl.col("recorded").fill_null(0) >= 0) | is_rated_month, *values)


def read_input(
    connection: Connection, reader: Reader, scope: RunScope, users: Collection[str], run_id: int | None = None
) -> BatchInput:
    """Reads ``users`` and rates their rows; takes no locks. Call inside or outside a transaction.

    ``run_id``: this run's; ``payable`` leaves out user-months whose debts it has settled already.
    """
    text = scope.query.rows_of_users(users, scope.window.spans())
    with transaction(connection):
        usage = reader.read(connection, scope.query, text)
        rows, rejected = _split_and_rate(usage, scope)
        billing_modes = user_state.read_billing_modes(connection, scope, users)
        draws_read = user_state.read_window_draws(connection, scope, users)
        months = user_state.read_months(connection, scope, scope.window.months, users)
        # If user_daily had no rows of these days when the run began, only users whom this run has written can have
        # some. In a first run, looking for each user's days would take as long as reading the usage.
        users_with_days = users if scope.has_user_days else months["user_id"].unique().to_list()
        days = user_state.read_days(connection, scope, scope.window.days, users_with_days)
        draws = _select_draws(draws_read, rows, scope.window)
        adopted = user_state.read_adopted_elsewhere(connection, scope, _not_always_prepaid(users, billing_modes))
        compared = ["id", "user_id", "date", "deducted"]
        mismatched = user_state.find_mismatched_rows(
            connection, scope, pl.concat([rows.select(compared), rejected.select(compared)]), draws
        )
        debts = user_state.read_debts(connection, scope, users)
        payable = _read_payable(connection, scope, debts, run_id)
        closed_months, closed_days = _read_closed_rollups(connection, scope, payable, months, days)
        inputs = BatchInput(
            users=frozenset(users),
            rows=rows,
            rejected=rejected,
            fingerprints=_combine_fingerprints(usage),
            billing_modes=billing_modes,
            draws=pl.concat([draws, make_zero_draws(adopted, rows)]),
            entry_counts=draws_read.group_by("user_id").agg(pl.len().alias("entries")),
            mismatched=mismatched,
            vanished_draws=find_vanished_draws(draws, usage),
            stored_months=months,
            stored_days=days,
            debts=debts,
            payable=payable,
            closed_months=closed_months,
            closed_days=closed_days,
            mismatched_debts=user_state.find_mismatched_debts(connection, scope, payable),
        )
        return replace(inputs, unexplained=unexplained_credits.find_unexplained_users(connection, scope, inputs))


def _select_draws(draws: pl.DataFrame, rows: pl.DataFrame, window: Window) -> pl.DataFrame:
    """Returns the draws that the run decides about (schemas.DRAWS).

    Draws on days after the last day of the run are left out: another program may have made them, and they stay until
    a run covers these days. Draws of a row that has moved to a covered day are included.
    """
    is_later = pl.col("date") > window.last
    if not draws.select(is_later.any()).item():
        return draws
    present = rows.select("id", pl.col("user_id").cast(pl.String))
    return pl.concat([draws.filter(~is_later), draws.filter(is_later).join(present, on=ROW_KEY, how="semi")])


def make_zero_draws(adopted: pl.DataFrame, rows: pl.DataFrame) -> pl.DataFrame:
    """Returns an imported draw of 0 for each of ``rows`` on which draws were adopted in another month (schemas.DRAWS).

    It makes the row prepaid in this month as well. ``adopted``: id and user_id of such rows.
    """
    if adopted.is_empty():
        return pl.DataFrame(schema=DRAWS)
    concerned = rows.select("id", pl.col("user_id").cast(pl.String), "date").join(adopted, on=ROW_KEY, how="semi")
    zeros = concerned.with_columns(imported=pl.lit(value=True), free=0, purchased=0)
    return zeros.select(pl.col(name).cast(kind) for name, kind in DRAWS.items())


def find_vanished_draws(draws: pl.DataFrame, usage: pl.DataFrame) -> pl.DataFrame:
    """Returns ``draws`` of rows that are deleted or another user's now, summed by row and user (schemas.DRAWS).

    A run reverses them. ``draws``: of the window; ``usage``: all rows of the users.
    """
    if draws.is_empty():
        return draws
    sums = (
        draws.lazy()
        .group_by(ROW_KEY)
        .agg(pl.col("date").max(), pl.col("imported").any(), pl.col("free").sum(), pl.col("purchased").sum())
    )
    present = usage.lazy().select("id", pl.col("user_id").cast(pl.String))
    vanished = sums.filter(IS_DRAWN).join(present, on=ROW_KEY, how="anti")
    return vanished.select(pl.col(name).cast(kind) for name, kind in DRAWS.items()).collect()


def _not_always_prepaid(users: Collection[str], billing_modes: pl.DataFrame) -> list[str]:
    """Returns those of ``users`` who have, or may have, another billing mode than prepaid.

    Only a row of theirs is made prepaid by an adopted draw.
    """
    always_prepaid = pl.col("mode").eq_missing("prepaid").all().alias("always_prepaid")
    by_user = billing_modes.group_by("user_id").agg(always_prepaid)
    return sorted(set(users) - set(by_user.filter("always_prepaid")["user_id"]))


def _read_payable(connection: Connection, scope: RunScope, debts: pl.DataFrame, run_id: int | None) -> pl.DataFrame:
    """Reads the open debts of the users of ``debts``. A run that covers no open month settles none."""
    is_open = pl.col("amount") > pl.col("settled") + pl.col("written_off")
    debtors = debts.filter(is_open)["user_id"].unique().to_list()
    if not debtors or not scope.window.open or not scope.credits.has_accounts:
        return pl.DataFrame(schema=PAYABLE)
    return user_state.read_payable_debts(connection, scope, debtors, run_id)


def _read_closed_rollups(
    connection: Connection, scope: RunScope, payable: pl.DataFrame, months: pl.DataFrame, days: pl.DataFrame
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Reads the rows of user_monthly and user_daily of ``payable`` debts, with the columns of ``months``, ``days``."""
    if payable.is_empty():
        return months.clear(), days.clear()
    debtors = payable["user_id"].unique().to_list()
    return (
        user_state.read_months(connection, scope, payable["month"].unique().to_list(), debtors),
        user_state.read_days(connection, scope, payable["date"].unique().to_list(), debtors),
    )


def _combine_fingerprints(usage: pl.DataFrame) -> pl.DataFrame:
    """Returns row_count, usage_hash and written_hash by user and month, as the server computes them."""
    return usage.group_by("user_id", pl.col("date").dt.month_start().alias("month")).agg(
        pl.len().cast(pl.Int64).alias("row_count"),
        pl.col("usage_hash").bitwise_xor(),
        pl.col("written_hash").bitwise_xor(),
    )
