"""Hashes of the values that a batch is about to write, computed by the server the same way as in detection."""

from collections.abc import Collection, Mapping

import polars as pl
from psycopg import sql

from jobs.domain.fixed_point import unscaled
from jobs.domain.schemas import MODES
from jobs.postgres import billing_mode_history, fingerprints
from jobs.postgres.connections import Connection
from jobs.postgres.detection import mode_hashes_query, mode_hashes_values
from jobs.postgres.run_scope import RunScope
from jobs.postgres.sql_loader import compose

KEY = ["user_id", "month"]
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
    """Returns hashes by user and month (CREDIT_HASHES): of ``billing_modes`` (schemas.MODES), and of the
    account as it will be after ``postings``.

    Call it before posting, with the accounts of all users of ``postings`` locked.
    """
    credits = scope.credits
    sums = postings.group_by("user_id").agg(pl.col("free", "purchased").sum())
    drawn = {
        "drawn_users": sums["user_id"].to_list(),
        "drawn_free": [unscaled(amount) for amount in sums["free"]],
        "drawn_purchased": [unscaled(amount) for amount in sums["purchased"]],
    }
    # The expressions depend on the columns of user_credits.
    free, purchased = (sql.SQL("coalesce(d.{}, 0)").format(sql.Identifier(kind)) for kind in ("free", "purchased"))
    if credits.counts_free_apart:
        used = {
            "used": sql.SQL("{} + {}").format(credits.amount("total_used", "a"), purchased),
            "free_used": sql.SQL("{} + {}").format(credits.amount("free_credits_used", "a"), free),
        }
    else:
        used = {"used": sql.SQL("{} + {} + {}").format(credits.amount("total_used", "a"), free, purchased)}
    text = compose(
        "detection.credit_hashes" if credits.has_accounts else "detection.credit_hashes_without_accounts",
        scope.settings,
        # Bound, not composed: a user's id may contain a %.
        user_ids=sql.SQL("%(users)s::text[]"),
        modes=mode_hashes_query(billing_mode_history.known_entries_query(billing_modes.select(list(MODES)).rows())),
        account_hash=fingerprints.account_hash(credits, used=used),
        usable=credits.usable(),
    )
    values = mode_hashes_values(scope, scope.window.months) | drawn | {"users": sorted(users)}
    rows = connection.execute(text, values).fetchall()
    return pl.DataFrame(rows, schema=CREDIT_HASHES, orient="row")


def compute_accounts_before(
    connection: Connection, scope: RunScope, keys: pl.DataFrame, run_id: int | None
) -> pl.DataFrame:
    """Returns for each user-month of ``keys`` (month, user_id) the hash of the user's account without our own draws
    since the user-month was stored (ACCOUNTS_BEFORE).

    Call it before posting. ``run_id``: draws of this run are not subtracted.
    """
    credits = scope.credits
    if not credits.has_accounts or keys.is_empty():
        return pl.DataFrame(schema=ACCOUNTS_BEFORE)
    # The expressions depend on the columns of user_credits.
    if credits.counts_free_apart:
        used: Mapping[str, sql.Composable] = {
            "used": sql.SQL("{} - d.purchased").format(credits.amount("total_used", "a")),
            "free_used": sql.SQL("{} - d.free").format(credits.amount("free_credits_used", "a")),
        }
    else:
        used = {"used": sql.SQL("{} - d.free - d.purchased").format(credits.amount("total_used", "a"))}
    text = compose(
        "detection.accounts_before",
        scope.settings,
        account_hash=fingerprints.account_hash(credits, used=used),
        drawn_since=compose("ledger.drawn_since", scope.settings),
    )
    values = {"months": keys["month"].to_list(), "users": keys["user_id"].to_list(), "run_id": run_id}
    found = [(month, user, str(hash_)) for month, user, hash_ in connection.execute(text, values)]
    return pl.DataFrame(found, schema=ACCOUNTS_BEFORE, orient="row")
