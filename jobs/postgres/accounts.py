"""user_credits and credit_transactions: accounts read and locked, and what a batch posts to them.

What posts runs inside the transaction of a batch: ledger, transactions and accounts change together or not.
"""

from collections.abc import Collection
from io import BytesIO

import polars as pl
from psycopg import sql

from jobs.domain.errors import RefusedError
from jobs.domain.fixed_point import ONE
from jobs.domain.schemas import ACCOUNTS
from jobs.postgres.connections import Connection, blocks, by_index
from jobs.postgres.credit_capabilities import COLUMNS, CreditCapabilities
from jobs.postgres.errors import writing
from jobs.postgres.rollup_io import copy_in
from jobs.postgres.sql_loader import app_table, compose, job_table, text_array
from jobs.settings import Settings


def read_accounts(
    connection: Connection, settings: Settings, credits: CreditCapabilities, users: Collection[str]
) -> pl.DataFrame:
    """The accounts of ``users`` (schemas.ACCOUNTS), but those whose amounts are no numbers (see ``unusable``)."""
    if credits.account is None or not users:
        return pl.DataFrame(schema=ACCOUNTS)
    units = {name: sql.SQL("{} * {}").format(credits.amount(column), ONE) for name, column in COLUMNS.items()}
    text = compose(
        "accounts.read",
        accounts=app_table(settings, "user_credits"),
        users=text_array(users),
        usable=credits.usable(of=""),
        **units,
    )
    return pl.concat(_parsed(block) for block in blocks(connection, text))


def _parsed(block: BytesIO) -> pl.DataFrame:
    schema = {"user_id": pl.String} | dict.fromkeys(COLUMNS, pl.Decimal(38, 0))
    if not block.getbuffer().nbytes:
        return pl.DataFrame(schema=ACCOUNTS)
    frame = pl.read_csv(block, has_header=False, schema=schema)
    return frame.with_columns(pl.col(name).to_physical() for name in COLUMNS)


def lock_accounts(
    connection: Connection, settings: Settings, credits: CreditCapabilities, users: Collection[str], *, wait: bool
) -> tuple[frozenset[str], frozenset[str]]:
    """Locks the accounts of ``users`` until the transaction ends: whose it has, and whose another transaction holds.

    ``wait``: it is waited for, up to the lock_timeout; then raises RefusedError where the server shows an account and
    does not let it be locked.
    """
    if credits.account is None or not users:
        return frozenset(), frozenset()
    text = compose(
        "accounts.lock",
        accounts=app_table(settings, "user_credits"),
        users=text_array(users),
        lock=sql.SQL("FOR NO KEY UPDATE" if wait else "FOR NO KEY UPDATE SKIP LOCKED"),
    )
    found = connection.execute(text).fetchall()
    locked, skipped = (frozenset(user for user, is_locked in found if is_locked is which) for which in (True, False))
    if wait:
        all_rows_locked("user_credits", len(found), len(locked))
    return locked, skipped


def all_rows_locked(table: str, expected: int, locked: int) -> None:
    """RefusedError where rows that nobody holds could not be locked."""
    if locked != expected:
        raise RefusedError(
            f"{table}: {expected} rows were to be locked for an UPDATE; {locked} could be, though nobody held the "
            "others. Look for a row-level policy without UPDATE for this role; nothing of these users was written"
        )


def post_draws(
    connection: Connection, settings: Settings, credits: CreditCapabilities, postings: pl.DataFrame, run_id: int
) -> dict[str, int]:
    """Books ``postings`` (credits.ledger_entries) in ledger, transactions and accounts; rows written per table.

    The accounts are locked. Raises RefusedError where one of them cannot be written: nothing is booked then.
    """
    done = {"credit_draws": _enter(connection, settings, postings, run_id, imported=False)}
    run, accounts = {"run_id": run_id, "schema": settings.rollup_schema}, app_table(settings, "user_credits")
    if credits.transactions:
        text = compose(
            "accounts.post_transactions",
            transactions=app_table(settings, "credit_transactions"),
            accounts=accounts,
            balance=credits.balance(),
        )
        with writing("credit_transactions", RefusedError):
            done["credit_transactions"] = connection.execute(text, run).rowcount
        _all_written("credit_transactions", changed_transactions(postings), done["credit_transactions"])
    with writing("user_credits", RefusedError):
        done["user_credits"] = connection.execute(_increments(settings, credits)).rowcount
    _all_written("user_credits", changed_accounts(postings, credits), done["user_credits"])
    return done


def enter_adopted(connection: Connection, settings: Settings, draws: pl.DataFrame, run_id: int) -> None:
    """Enters ``draws`` (schemas.DRAWS) of other programs into the ledger alone: no transaction, no account."""
    columns = {"month": pl.col("date").dt.month_start(), "fresh": pl.lit(value=False), "first": pl.lit(value=False)}
    entered = _enter(connection, settings, draws.with_columns(**columns), run_id, imported=True)
    _all_written("credit_draws", draws.height, entered)


def _enter(connection: Connection, settings: Settings, draws: pl.DataFrame, run_id: int, *, imported: bool) -> int:
    """Stages ``draws`` and adds them to the ledger; how many."""
    connection.execute(compose("accounts.stage_draws"))
    staged = draws.select("user_id", "id", "month", "date", "free", "purchased", "fresh", "first")
    copy_in(connection, sql.Identifier("usage_jobs_draws"), staged)
    text = compose("accounts.post_draws", draws=job_table(settings, "credit_draws"))
    with by_index(connection):
        return connection.execute(text, {"run_id": run_id, "imported": imported}).rowcount


def _all_written(table: str, expected: int, written: int) -> None:
    if written != expected:
        raise RefusedError(
            f"{table}: {expected} rows were to be written; {written} were. Look for a row-level policy that keeps this "
            "role from it, or a trigger that swallows rows; nothing of these users was written"
        )


def changed_accounts(postings: pl.DataFrame, credits: CreditCapabilities) -> int:
    """How many accounts ``postings`` change."""
    sums = postings.group_by("user_id").agg(pl.col("free", "purchased").sum())
    both = (pl.col("free") != 0) | (pl.col("purchased") != 0)
    return sums.filter(both if credits.splits else pl.col("free") + pl.col("purchased") != 0).height


def transactions(postings: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """What ``postings`` take off balances (units of 10^-10): ``amount`` by row where it is newly drawn, and of all
    corrections by user and month, unless they come to nothing."""
    rows = postings.with_columns(amount=pl.col("free") + pl.col("purchased"))
    net = rows.filter(~pl.col("fresh")).group_by("user_id", "month").agg(pl.col("amount").sum())
    return rows.filter("fresh"), net.filter(pl.col("amount") != 0)


def changed_transactions(postings: pl.DataFrame) -> int:
    """How many transactions ``postings`` come to."""
    return sum(part.height for part in transactions(postings))


def _increments(settings: Settings, credits: CreditCapabilities) -> sql.Composed:
    used, free = credits.amount("total_used", "a"), credits.amount("free_credits_used", "a")
    if credits.splits:
        text = "total_used = {used} + d.purchased, free_credits_used = {free} + d.free"
        changes = sql.SQL("(d.free <> 0 OR d.purchased <> 0)")
    else:
        text = "total_used = {used} + d.free + d.purchased"
        changes = sql.SQL("d.free + d.purchased <> 0")
    return compose(
        "accounts.post_accounts",
        accounts=app_table(settings, "user_credits"),
        increments=sql.SQL(text).format(used=used, free=free),
        changes=changes,
        balance=credits.balance(),
    )
