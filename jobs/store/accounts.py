"""user_credits and credit_transactions: accounts read and locked, and what a chunk posts to them (DESIGN section 4).

Everything here runs inside the transaction of a chunk: ledger, transactions and accounts change together or not.
"""

from collections import Counter
from collections.abc import Sequence

import polars as pl
from psycopg import sql

from jobs.model.errors import PreflightError
from jobs.model.frames import ACCOUNTS
from jobs.model.scale import MOST_DIGITS, ONE
from jobs.settings import Settings
from jobs.store.credit_source import CreditSource
from jobs.store.database import Connection, transaction
from jobs.store.faults import writing
from jobs.store.statements import own, source, statement
from jobs.store.tables import copy_in

COLUMNS = {
    "granted": "free_credits_granted",
    "bought": "total_purchased",
    "free_used": "free_credits_used",
    "used": "total_used",
}


def read(connection: Connection, settings: Settings, held: CreditSource, users: Sequence[str]) -> pl.DataFrame:
    """The accounts of ``users`` (frames.ACCOUNTS), but those whose amounts are no numbers (see ``unusable``).

    Raises PreflightError naming a user who has two.
    """
    if held.account is None:
        return pl.DataFrame(schema=ACCOUNTS)
    names = {name: amount(column, held) for name, column in COLUMNS.items()}
    text = statement("accounts", accounts=source(settings, "user_credits"), one=sql.Literal(ONE), **names)
    rows = connection.execute(text, {"users": list(users)}).fetchall()
    good = [row for row in rows if all(value.is_finite() and value.adjusted() < MOST_DIGITS for value in row[1:])]
    twice = sorted(user for user, count in Counter(row[0] for row in good).items() if count > 1)
    if twice:
        raise PreflightError(
            f"user_credits: expected one row per user; found more of {', '.join(twice[:3])}. Merge them, and add a "
            "unique index on user_id; nothing of these users was written"
        )
    exact = [(user, *(int(value) for value in amounts)) for user, *amounts in good]
    return pl.DataFrame(exact, schema=ACCOUNTS, orient="row")


def unusable(connection: Connection, settings: Settings, held: CreditSource) -> list[str]:
    """The first users whose accounts hold amounts that are no numbers: they are left as they are."""
    if held.account is None:
        return []
    total = balance(held)
    accounts = sql.SQL("{} AS a").format(source(settings, "user_credits"))
    text = sql.SQL("SELECT user_id FROM {} WHERE {} IN ('NaN', 'Infinity', '-Infinity') ORDER BY 1 LIMIT 10")
    with transaction(connection):
        return [str(row[0]) for row in connection.execute(text.format(accounts, total))]


def amount(column: str, held: CreditSource, of: str = "") -> sql.Composed:
    if held.account is None or column not in held.account:
        return sql.SQL("0::numeric").format()
    return sql.SQL("coalesce({}, 0)::numeric").format(sql.Identifier(*([of] if of else []), column))


def lock(connection: Connection, settings: Settings, users: Sequence[str]) -> None:
    """Locks accounts until the transaction ends."""
    connection.execute(statement("lock_accounts", accounts=source(settings, "user_credits")), {"users": list(users)})


def post(
    connection: Connection, settings: Settings, held: CreditSource, postings: pl.DataFrame, run_id: int
) -> dict[str, int]:
    """Books ``postings`` (compute.credits) in ledger, transactions and accounts; rows written per table.

    The accounts are locked. Raises PreflightError where one of them cannot be written: nothing is booked then.
    """
    connection.execute("DROP TABLE IF EXISTS pg_temp.usage_jobs_draws")
    connection.execute(statement("stage_draws"))
    staged = postings.select("user_id", "id", "month", "date", "free", "purchased", "fresh", "first")
    copy_in(connection, sql.Identifier("usage_jobs_draws"), staged)
    run, accounts = {"run_id": run_id}, source(settings, "user_credits")
    draws = statement("post_draws", draws=own(settings, "credit_draws"))
    done = {"credit_draws": connection.execute(draws, run).rowcount}
    if held.transactions:
        text = statement(
            "post_transactions",
            transactions=source(settings, "credit_transactions"),
            accounts=accounts,
            balance=balance(held),
        )
        with writing("credit_transactions"):
            done["credit_transactions"] = connection.execute(text, run).rowcount
        _all_written("credit_transactions", changed_transactions(postings), done["credit_transactions"])
    with writing("user_credits"):
        done["user_credits"] = connection.execute(_increments(settings, held)).rowcount
    _all_written("user_credits", changed_accounts(postings, held), done["user_credits"])
    return done


def _all_written(table: str, expected: int, written: int) -> None:
    if written != expected:
        raise PreflightError(
            f"{table}: {expected} rows were to be written; {written} were. Look for a row-level policy that keeps this "
            "role from it, or a trigger that swallows rows; nothing of these users was written"
        )


def changed_accounts(postings: pl.DataFrame, held: CreditSource) -> int:
    """How many accounts ``postings`` change."""
    sums = postings.group_by("user_id").agg(pl.col("free", "purchased").sum())
    both = (pl.col("free") != 0) | (pl.col("purchased") != 0)
    return sums.filter(both if held.splits else pl.col("free") + pl.col("purchased") != 0).height


def transactions(postings: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """What ``postings`` take off balances (units of 10^-10): ``amount`` by row where it is newly drawn, and of all
    corrections by user and month, unless they come to nothing."""
    rows = postings.with_columns(amount=pl.col("free") + pl.col("purchased"))
    net = rows.filter(~pl.col("fresh")).group_by("user_id", "month").agg(pl.col("amount").sum())
    return rows.filter("fresh"), net.filter(pl.col("amount") != 0)


def changed_transactions(postings: pl.DataFrame) -> int:
    """How many transactions ``postings`` come to."""
    return sum(part.height for part in transactions(postings))


def balance(held: CreditSource) -> sql.Composed:
    parts = {name: amount(column, held, "a") for name, column in COLUMNS.items()}
    return sql.SQL("({bought} + {granted} - {used} - {free_used})").format(**parts)


def _increments(settings: Settings, held: CreditSource) -> sql.Composed:
    used, free = amount("total_used", held, "a"), amount("free_credits_used", held, "a")
    if held.splits:
        text = "total_used = {used} + d.purchased, free_credits_used = {free} + d.free"
        changes = sql.SQL("(d.free <> 0 OR d.purchased <> 0)")
    else:
        text = "total_used = {used} + d.free + d.purchased"
        changes = sql.SQL("d.free + d.purchased <> 0")
    return statement(
        "post_accounts",
        accounts=source(settings, "user_credits"),
        increments=sql.SQL(text).format(used=used, free=free),
        changes=changes,
        balance=balance(held),
    )
