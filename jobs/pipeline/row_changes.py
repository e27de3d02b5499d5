"""Rows that a run writes, as entries of a plan (rollups.changes.CHANGES), by kind of row."""

from collections.abc import Sequence
from datetime import date
from uuid import UUID

import polars as pl

from jobs.domain.schemas import ACCOUNT_AMOUNTS
from jobs.domain.tables import USER_MONTH
from jobs.postgres.accounts import compute_transactions
from jobs.postgres.adoption import Adoption
from jobs.postgres.billing_mode_history import Entry
from jobs.postgres.rejects import RejectChange
from jobs.postgres.run_scope import RunScope
from jobs.postgres.usage_writeback import UnreadRow
from jobs.rollups.causes import COMPARED_AMOUNTS
from jobs.rollups.changes import NO_CHANGES, join_text, list_changes


def list_usage(rows: pl.DataFrame, unread: Sequence[UnreadRow]) -> pl.DataFrame:
    """Returns rows of usage_daily: total_cost and credits_deducted.

    ``rows``: pipeline.usage_updates.
    """
    written = rows.select(
        _uuids(rows["id"]),
        pl.col("user_id").cast(pl.String),
        join_text(["recorded", "deducted"]).alias("old"),
        join_text([pl.coalesce("new_total_cost", "recorded"), pl.coalesce("new_credits_deducted", "deducted")]).alias(
            "new"
        ),
    )
    # Listed under the user whose batch writes the row, even where it is another user's now.
    others = [(str(row.id), min(row.former_users), f"\x00\x1f{row.old}", f"\x00\x1f{row.new}") for row in unread]
    every = pl.concat([written, pl.DataFrame(others, schema=written.schema, orient="row")])
    return list_changes("usage_daily", every.lazy(), ["id"], old=pl.col("old"), new=pl.col("new"), owner="user_id")


def list_postings(scope: RunScope, postings: pl.DataFrame, before: pl.DataFrame, after: pl.DataFrame) -> pl.DataFrame:
    """Returns ledger entries, transactions, and accounts; ``before``, ``after``: the accounts (schemas.ACCOUNTS)."""
    if postings.is_empty():
        return NO_CHANGES
    rows, nothing = postings.with_columns(_uuids(postings["id"])), pl.lit(None)
    new = join_text(["date", "free", "purchased"])
    lists = [
        list_changes("credit_draws", rows.lazy(), ["id", "user_id", "month"], old=nothing, new=new, owner="user_id")
    ]
    if scope.credits.has_transactions:
        first_draws, net = compute_transactions(rows)
        for transactions_, key in ((first_draws, ["user_id", "id"]), (net, ["user_id", "month"])):
            new = join_text([0 - pl.col("amount")])
            lists.append(
                list_changes("credit_transactions", transactions_.lazy(), key, old=nothing, new=new, owner="user_id")
            )
    then = after.lazy().select("user_id", join_text(ACCOUNT_AMOUNTS).alias("new"))
    changed = before.lazy().select("user_id", join_text(ACCOUNT_AMOUNTS).alias("old")).join(then, on="user_id")
    changed = changed.filter(pl.col("old") != pl.col("new"))
    old, new = pl.col("old"), pl.col("new")
    return pl.concat([*lists, list_changes("user_credits", changed, ["user_id"], old=old, new=new, owner="user_id")])


def list_adopted_draws(adopted: pl.DataFrame) -> pl.DataFrame:
    """Returns the ledger entries that ``--adopt`` makes; ``adopted``: schemas.DRAWS."""
    rows, new = adopted.with_columns(_uuids(adopted["id"])), join_text(["date", "free", "purchased"])
    return list_changes(
        "credit_draws", rows.lazy(), [pl.lit("adopted"), "id", "user_id"], old=pl.lit(None), new=new, owner="user_id"
    )


def list_corrections(corrected: pl.DataFrame) -> pl.DataFrame:
    """Returns rows of rollup.corrections; ``corrected``: see rollups.causes.find_causes."""
    old, new = (
        join_text([f"old_{name}" for name in COMPARED_AMOUNTS]),
        join_text([*(f"new_{name}" for name in COMPARED_AMOUNTS), "cause"]),
    )
    return list_changes("corrections", corrected.lazy(), USER_MONTH, old=old, new=new, owner="user_id")


def list_rejects(rejects: Sequence[RejectChange]) -> pl.DataFrame:
    """Returns rows of rollup.rejects."""
    rows = pl.DataFrame(
        [(row.id, row.user, row.old, row.new) for row in rejects],
        schema=dict.fromkeys(("id", "user", "old", "new"), pl.String),
        orient="row",
    )
    return list_changes("rejects", rows.lazy(), ["id"], old=pl.col("old"), new=pl.col("new"), owner="user")


def list_billing_modes(entries: Sequence[Entry]) -> pl.DataFrame:
    """Returns new entries of rollup.billing_modes."""
    schema = {"user_id": pl.String, "valid_from": pl.Date, "mode": pl.String}
    rows = pl.DataFrame(list(entries), schema=schema, orient="row")
    key, new = ["user_id", "valid_from"], join_text(["mode"])
    return list_changes("billing_modes", rows.lazy(), key, old=pl.lit(None), new=new, owner="user_id")


def list_adoption(adopted: Adoption | None) -> pl.DataFrame:
    """Returns the adoption of another program's draws as one row: all are imported, or none."""
    summary = [] if adopted is None else [(adopted.rows, str(adopted.total))]
    rows = pl.DataFrame(summary, schema={"rows": pl.Int64, "total": pl.String}, orient="row")
    new = join_text(["rows", "total"])
    return list_changes("credit_draws", rows.lazy(), [pl.lit("adopted")], old=pl.lit(None), new=new)


def list_months(months: Sequence[tuple[date, str, str]]) -> pl.DataFrame:
    """Returns rows of rollup.months; ``months``: month, stored values, new values."""
    rows = pl.DataFrame(list(months), schema={"month": pl.Date, "old": pl.String, "new": pl.String}, orient="row")
    return list_changes("months", rows.lazy(), ["month"], old=pl.col("old"), new=pl.col("new"))


def _uuids(ids: pl.Series) -> pl.Series:
    return pl.Series("id", [str(UUID(int=id_)) for id_ in ids], dtype=pl.String)
