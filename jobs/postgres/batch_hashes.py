"""Hashes of the values that a batch is about to write, computed by the server the same way as in detection."""

from collections.abc import Collection

import polars as pl

from jobs.domain.fixed_point import unscaled
from jobs.domain.schemas import BILLING_MODE_ENTRIES
from jobs.postgres import billing_mode_history, fingerprints
from jobs.postgres.connections import Connection
from jobs.postgres.detection import mode_hashes_values
from jobs.postgres.run_scope import RunScope
from jobs.postgres.sql_loader import compose

CREDIT_HASHES = {
    "user_id": pl.String,
    "month": pl.Date,
    "modes_hash": pl.Int64,
    "account_hash": pl.Int64,
    "is_usable": pl.Boolean,
}
ACCOUNTS_BEFORE = {"month": pl.Date, "user_id": pl.String, "account_hash": pl.String}


def compute_credit_hashes(
    connection: Connection, scope: RunScope, users: Collection[str], billing_modes: pl.DataFrame, postings: pl.DataFrame
) -> pl.DataFrame:
    """Returns hashes by user and month (CREDIT_HASHES): of ``billing_modes`` (schemas.BILLING_MODE_ENTRIES), and of the
    account as it will be after ``postings``.

    Call it before posting, with the accounts of all users of ``postings`` locked.
    """
    entries = billing_mode_history.known_entries_query(billing_modes.select(list(BILLING_MODE_ENTRIES)).rows())
    sums = postings.group_by("user_id").agg(pl.col("free", "purchased").sum())
    text = compose(
        "detection.credit_hashes" if scope.credits.has_accounts else "detection.credit_hashes_without_accounts",
        scope.settings,
        modes=compose("detection.mode_hashes", entries=entries),
        account_hash=fingerprints.account_hash(scope.credits, after_draws=True),
        usable=scope.credits.usable(),
    )
    values = mode_hashes_values(scope, scope.window.months) | {
        "users": sorted(users),
        "drawn_users": sums["user_id"].to_list(),
        "drawn_free": [unscaled(amount) for amount in sums["free"]],
        "drawn_purchased": [unscaled(amount) for amount in sums["purchased"]],
    }
    rows = connection.execute(text, values).fetchall()
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
