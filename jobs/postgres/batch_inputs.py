"""What a batch reads besides usage: how its users paid, their draws, and what the roll-ups hold of them.

Only runs write these tables, one run at a time, so that they may be read before anything is locked.
"""

from collections.abc import Collection, Sequence
from datetime import date

import polars as pl
from psycopg import sql

from jobs.domain.fixed_point import scaled
from jobs.domain.schemas import CODED, DRAWS, MODES
from jobs.postgres import adoption, debts, ledger, rollup_io
from jobs.postgres.connections import Connection
from jobs.postgres.run_scope import RunScope
from jobs.postgres.sql_loader import compose, job_table, text_array

MISMATCHED: dict[str, pl.DataType | type[pl.DataType]] = {
    "id": pl.UInt128,
    "user_id": pl.Categorical,
    "date": pl.Date,
    "deducted": pl.Int64,
    "drawn": pl.Int128,
    "foreign": pl.Boolean,
    "empty": pl.Boolean,
    "elsewhere": pl.Int128,
}


PAYABLE: dict[str, pl.DataType | type[pl.DataType]] = {
    "id": pl.UInt128,
    "user_id": pl.String,
    "date": pl.Date,
    "month": pl.Date,
    "cluster_id": pl.UInt128,
    "settled": pl.Int128,
    "open": pl.Int128,
    "deducted": pl.Int128,
    "drawn": pl.Int128,
    "ledger_hash": pl.Int64,
    "written_hash": pl.Int64,
}
"""A debt: what is settled and what is open of it (units of 10^-10); what its row shows (null: no number, or there is no
such column), and what the ledger says; and the hash of what is written to the row, as the ledger says and as it is."""


def read_billing_modes(connection: Connection, scope: RunScope, users: Collection[str]) -> pl.DataFrame:
    """How ``users`` pay since when (schemas.MODES); ``is_new``: rollup.billing_modes does not say so yet."""
    rows = connection.execute(scope.mode_entries(users)).fetchall()
    return pl.DataFrame(rows, schema={**MODES, "is_new": pl.Boolean}, orient="row")


def read_window_draws(connection: Connection, scope: RunScope, users: Collection[str]) -> pl.DataFrame:
    """The draws of ``users`` in the months of the window (schemas.DRAWS)."""
    if scope.query.read.credits.account is None:
        return pl.DataFrame(schema=DRAWS)
    return ledger.read_draws(connection, scope.settings, ledger_of(scope), scope.window.months, users)


def read_adopted_elsewhere(connection: Connection, scope: RunScope, users: Collection[str]) -> pl.DataFrame:
    """Rows of ``users`` on which draws were adopted in a month outside the window: id, user_id."""
    if scope.query.read.credits.account is None or not users:
        return pl.DataFrame(schema=ledger.ROWS)
    return ledger.read_adopted_elsewhere(connection, ledger_of(scope), scope.window.months, users)


def ledger_of(scope: RunScope) -> sql.Composable:
    """The ledger, or what a dry run takes for it."""
    if scope.adopts:
        return adoption.as_ledger(scope.settings, scope.query.read.credits)
    return job_table(scope.settings, "credit_draws")


def find_mismatched_rows(
    connection: Connection, scope: RunScope, rows: pl.DataFrame, draws: pl.DataFrame
) -> pl.DataFrame:
    """Rows whose credits_deducted is not what the window's ``draws`` of their user come to, with what the whole ledger
    says of them (MISMATCHED): ``drawn`` by the present user in all months; ``foreign``: deducted is neither that, nor
    what another user or all of them have drawn on the row, some other program wrote it; ``empty``: nothing is deducted
    although the present user has draws on it, or what was given back since, as when the row was another user's for a
    while; ``elsewhere``: what of ``drawn`` stands in closed months that are not in the window, the row has come from
    there.

    ``rows``: id, user_id, date, deducted.
    """
    if not scope.query.read.credits.shown:
        return pl.DataFrame(schema=MISMATCHED)
    sums = draws.lazy().group_by("id", CODED).agg((pl.col("free") + pl.col("purchased")).sum().alias("booked"))
    read = pl.col("deducted").cast(pl.Int128)
    shown = rows.lazy().select("id", "user_id", "date", "deducted")  # a join copies every column
    found = (
        shown.join(sums, on=["id", "user_id"], how="left")
        .filter(read.ne_missing(pl.col("booked").fill_null(0)))
        .collect()
    )
    return _judged(connection, scope, found)


def find_mismatched_debts(connection: Connection, scope: RunScope, payable: pl.DataFrame) -> pl.DataFrame:
    """Debts (PAYABLE) of which the row does not show what the ledger says (MISMATCHED)."""
    if payable.is_empty() or not scope.query.read.credits.shown:
        return pl.DataFrame(schema=MISMATCHED)
    odd = payable.filter(pl.col("deducted").ne_missing(pl.col("drawn")))
    return _judged(connection, scope, odd.select("id", CODED, "date", "deducted"))


def _judged(connection: Connection, scope: RunScope, found: pl.DataFrame) -> pl.DataFrame:
    """``found`` (id, user_id, date, deducted) as MISMATCHED."""
    months, ids = scope.window.months, found["id"].to_list()
    read = pl.col("deducted").cast(pl.Int128)
    known = ledger.read_totals_of_rows(connection, scope.settings, ledger_of(scope), ids, months)
    anybody = known.group_by("id").agg("drawn", pl.col("drawn").sum().alias("whole"))
    mine = known.with_columns(CODED).rename({"drawn": "own", "before": "own_before"})
    # A user who has lost the row may be in a batch that has given back his draws already.
    theirs = known.with_columns(CODED).join(found, on=["id", "user_id"], how="anti").group_by("id").agg("before")
    marked = (
        found.join(mine, on=["id", "user_id"], how="left")
        .join(anybody, on="id", how="left")
        .join(theirs, on="id", how="left")
        .with_columns(pl.col("own", "whole", "elsewhere").fill_null(0))
    )
    by_others = pl.col("drawn").list.contains(read) | pl.col("before").list.contains(read).fill_null(value=False)
    explained = (read == pl.col("own")) | (read == pl.col("whole")) | by_others
    is_empty = (read == 0) & (pl.col("own") != 0)
    empty = (is_empty | ((read == pl.col("own_before")) & (pl.col("own") == 0))).fill_null(value=False)
    foreign = ~empty & ~explained.fill_null(value=False)
    if scope.begins_ledger:
        # What is no number could not be adopted: no draw is told by it.
        foreign &= read.is_not_null()
    return marked.with_columns(foreign=foreign, empty=empty, drawn=pl.col("own")).select(
        pl.col(name).cast(kind) for name, kind in MISMATCHED.items()
    )


def read_debts(connection: Connection, scope: RunScope, users: Collection[str]) -> pl.DataFrame:
    """The debts of ``users`` in months that are closed, or that the run closes."""
    of = rollup_io.table(scope.settings, "debts")
    text = compose(
        "debts.stored",
        debts=job_table(scope.settings, "debts"),
        months=job_table(scope.settings, "months"),
        users=text_array(users),
        anew=sql.Literal(sorted(scope.window.debt_months)),
    )
    return pl.concat(rollup_io.read_query(connection, of, of.computed, text))


def read_payable_debts(
    connection: Connection, scope: RunScope, users: Collection[str], run_id: int | None
) -> pl.DataFrame:
    """Those that credit can settle now (PAYABLE), oldest first."""
    text = debts.payable(scope, sql.SQL("d.user_id = ANY({})").format(text_array(users)), run_id)
    found = connection.execute(text).fetchall()
    rows = [
        (
            id_.int,
            user,
            day,
            month,
            cluster and cluster.int,
            scaled(settled),
            scaled(open_),
            shown,
            scaled(drawn),
            *hashes,
        )
        for id_, user, day, month, cluster, settled, open_, shown, drawn, *hashes in found
    ]
    return pl.DataFrame(rows, schema=PAYABLE, orient="row").sort("user_id", "date", "id")


def read_months(
    connection: Connection, scope: RunScope, months: Collection[date], users: Collection[str]
) -> pl.DataFrame:
    """What user_monthly holds of ``users`` in ``months``."""
    of = rollup_io.table(scope.settings, "user_monthly")
    return pl.concat(rollup_io.stored(connection, scope.settings, of, months, users))


def read_days(connection: Connection, scope: RunScope, days: Sequence[date], users: Collection[str]) -> pl.DataFrame:
    """What user_daily holds of ``users`` on ``days``: each is looked for by the key, which begins with the day."""
    of = rollup_io.table(scope.settings, "user_daily")
    rows = sql.SQL("date = ANY({}::date[]) AND user_id = ANY({})").format(
        sql.Literal([day.isoformat() for day in days]), text_array(users)
    )
    return pl.concat(rollup_io.read(connection, of, of.computed, job_table(scope.settings, of.name), rows))
