"""Reads, hashes and locks accounts (user_credits), and posts draws to ledger, credit_transactions and accounts.

The functions that post run inside the transaction of a batch: ledger, transactions and accounts change together or not
at all.
"""

from collections.abc import Collection

import polars as pl
from psycopg import sql

from jobs.domain.errors import RefusedError
from jobs.domain.fixed_point import unscaled
from jobs.domain.schemas import ACCOUNTS, BILLING_MODE_ENTRIES, DRAWN, IS_DRAWN
from jobs.postgres import billing_mode_history, fingerprints
from jobs.postgres.connections import Connection, prefer_indexes
from jobs.postgres.credit_capabilities import COLUMNS, CreditCapabilities
from jobs.postgres.detection import month_values
from jobs.postgres.errors import name_refusals
from jobs.postgres.run_scope import RunScope
from jobs.postgres.sql_loader import bind_columns, compose, text_array
from jobs.postgres.table_io import read_frame, stage_rows
from jobs.settings import Settings

CREDIT_HASHES = {
    "user_id": pl.String,
    "month": pl.Date,
    "modes_hash": pl.Int64,
    "account_hash": pl.Int64,
    "is_usable": pl.Boolean,
}
ACCOUNTS_BEFORE = {"month": pl.Date, "user_id": pl.String, "account_hash": pl.String}


def read_accounts(
    connection: Connection, settings: Settings, credits: CreditCapabilities, users: Collection[str]
) -> pl.DataFrame:
    """Returns the accounts of ``users`` (schemas.ACCOUNTS), without those whose amounts are not usable numbers
    (``CreditCapabilities.usable``)."""
    if not credits.has_accounts or not users:
        return pl.DataFrame(schema=ACCOUNTS)
    # Which columns exist differs by database.
    amounts = {name: credits.amount(column) for name, column in COLUMNS.items()}
    usable = credits.usable()
    return read_frame(
        connection, compose("accounts.by_user", settings, users=text_array(users), usable=usable, **amounts), ACCOUNTS
    )


def lock_accounts(
    connection: Connection, settings: Settings, credits: CreditCapabilities, users: Collection[str], *, wait: bool
) -> tuple[frozenset[str], frozenset[str]]:
    """Locks the accounts of ``users`` until the transaction ends. Returns the users whose account is locked, and the
    users whose account another transaction has locked.

    ``wait``: wait for other transactions, up to lock_timeout; else skip the accounts that they have locked.
    Raises RefusedError with ``wait`` where an account can be read but not locked.
    """
    if not credits.has_accounts or not users:
        return frozenset(), frozenset()
    text = compose(
        "accounts.lock",
        settings,
        users=text_array(users),
        lock=sql.SQL("FOR NO KEY UPDATE" if wait else "FOR NO KEY UPDATE SKIP LOCKED"),
    )
    found = connection.execute(text).fetchall()
    locked, skipped = (frozenset(user for user, is_locked in found if is_locked is which) for which in (True, False))
    if wait:
        require_rows_locked("user_credits", len(found), len(locked))
    return locked, skipped


def require_rows_locked(table: str, expected: int, locked: int) -> None:
    """Raises RefusedError where rows could not be locked although no other transaction has a lock on them."""
    if locked != expected:
        raise RefusedError(
            f"{table}: expected to lock {expected} rows for an UPDATE; locked {locked}, although no other transaction "
            "has a lock on the others. Look for a row-level policy without UPDATE for this role; "
            "nothing of these users was written"
        )


def post_draws(
    connection: Connection, settings: Settings, credits: CreditCapabilities, postings: pl.DataFrame, run_id: int
) -> None:
    """Posts ``postings`` (credits.allocation.make_postings) to ledger, transactions and accounts.

    The accounts must be locked. Raises RefusedError where a row cannot be written; the caller then rolls back.
    """
    _insert_draws(connection, settings, postings, run_id, imported=False)
    values = {"run_id": run_id, "schema": settings.rollup_schema}
    if credits.has_transactions:
        text = compose("accounts.post_transactions", settings, balance=credits.balance())
        with name_refusals("credit_transactions", RefusedError):
            posted = connection.execute(text, values).rowcount
        _require_rows_written("credit_transactions", count_transactions(postings), posted)
    with name_refusals("user_credits", RefusedError):
        changed = connection.execute(_increments_query(settings, credits)).rowcount
    _require_rows_written("user_credits", count_changed_accounts(postings, credits), changed)


def post_adopted_draws(connection: Connection, settings: Settings, draws: pl.DataFrame, run_id: int) -> None:
    """Posts ``draws`` (schemas.DRAWS) of another program to the ledger only: that program has changed transactions and
    account already."""
    entries = draws.with_columns(month=pl.col("date").dt.month_start(), is_first_draw=pl.lit(value=False))
    _insert_draws(connection, settings, entries, run_id, imported=True)


def _insert_draws(
    connection: Connection, settings: Settings, draws: pl.DataFrame, run_id: int, *, imported: bool
) -> None:
    """Adds ``draws`` to the ledger by way of a temporary table."""
    staged = draws.select("user_id", "id", "month", "date", "free", "purchased", "is_first_draw")
    stage_rows(connection, "draws", staged)
    text = compose("accounts.post_draws", settings)
    with prefer_indexes(connection):
        entered = connection.execute(text, {"run_id": run_id, "imported": imported}).rowcount
    _require_rows_written("credit_draws", draws.height, entered)


def _require_rows_written(table: str, expected: int, written: int) -> None:
    if written != expected:
        raise RefusedError(
            f"{table}: expected to write {expected} rows; wrote {written}. Look for a row-level policy that excludes "
            "rows for this role, or a trigger that discards rows; nothing of these users was written"
        )


def count_changed_accounts(postings: pl.DataFrame, credits: CreditCapabilities) -> int:
    """Returns how many accounts ``postings`` change."""
    sums = postings.group_by("user_id").agg(pl.col("free", "purchased").sum())
    return sums.filter(IS_DRAWN if credits.counts_free_apart else DRAWN != 0).height


def compute_transactions(postings: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Returns the transactions that ``postings`` make, with ``amount`` (units of 10^-10): one for each row drawn for
    the first time; and one for the corrections of a user and month, unless their sum is 0."""
    rows = postings.with_columns(amount=DRAWN)
    net = rows.filter(~pl.col("is_first_draw")).group_by("user_id", "month").agg(pl.col("amount").sum())
    return rows.filter("is_first_draw"), net.filter(pl.col("amount") != 0)


def count_transactions(postings: pl.DataFrame) -> int:
    """Returns how many transactions ``postings`` make."""
    return sum(part.height for part in compute_transactions(postings))


def _increments_query(settings: Settings, credits: CreditCapabilities) -> sql.Composed:
    increments = [
        sql.SQL("{} = {} + {}").format(sql.Identifier(column), credits.amount(column), more)
        for column, more in credits.increments.items()
    ]
    changes = [sql.SQL("{} <> 0").format(more) for more in credits.increments.values()]
    return compose(
        "accounts.post_accounts",
        settings,
        increments=sql.SQL(", ").join(increments),
        changes=sql.SQL(" OR ").join(changes),
        balance=credits.balance(),
    )


def compute_credit_hashes(
    connection: Connection, scope: RunScope, users: Collection[str], billing_modes: pl.DataFrame, postings: pl.DataFrame
) -> pl.DataFrame:
    """Returns hashes by user and month (CREDIT_HASHES): of ``billing_modes`` (schemas.BILLING_MODE_ENTRIES), and of the
    account as it will be after ``postings``.

    Call it before posting, with the accounts of all users of ``postings`` locked.
    """
    entries = billing_mode_history.known_entries_query(billing_modes.select(list(BILLING_MODE_ENTRIES)).rows())
    sums = postings.group_by("user_id").agg(pl.col("free", "purchased").sum()).select("user_id", "free", "purchased")
    drawn = ((user, unscaled(free), unscaled(purchased)) for user, free, purchased in sums.iter_rows())
    accounts = {} if scope.credits.has_accounts else {"drawn_hashes": compose("detection.no_account_hashes")}
    text = compose(
        "detection.credit_hashes",
        scope.settings,
        entries=entries,
        account_hash=fingerprints.account_hash(scope.credits, after_draws=True),
        usable=scope.credits.usable(),
        **accounts,
    )
    values = month_values(scope, scope.window.months) | bind_columns("drawn_users drawn_free drawn_purchased", drawn)
    rows = connection.execute(text, values | {"users": sorted(users)}).fetchall()
    return pl.DataFrame(rows, schema=CREDIT_HASHES, orient="row")


def compute_accounts_before(
    connection: Connection, scope: RunScope, keys: pl.DataFrame, run_id: int | None
) -> pl.DataFrame:
    """Returns for each user-month of ``keys`` (month, user_id) the hash of the user's account without our own draws
    since the user-month was stored (ACCOUNTS_BEFORE).

    Call it before posting. ``run_id``: draws of this run are not subtracted.
    """
    if not scope.credits.has_accounts or keys.is_empty():
        return pl.DataFrame(schema=ACCOUNTS_BEFORE)
    account_hash = fingerprints.account_hash(scope.credits, after_draws=True)
    text = compose("detection.accounts_before", scope.settings, account_hash=account_hash)
    values = {"months": keys["month"].to_list(), "users": keys["user_id"].to_list(), "run_id": run_id}
    found = [(month, user, str(hash_)) for month, user, hash_ in connection.execute(text, values)]
    return pl.DataFrame(found, schema=ACCOUNTS_BEFORE, orient="row")
