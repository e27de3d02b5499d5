"""What a run writes, listed row by row for a plan (compute.changes)."""

from collections.abc import Sequence
from datetime import date
from uuid import UUID

import polars as pl

from jobs.domain.schemas import NUMBERS
from jobs.postgres.accounts import transactions
from jobs.postgres.adoption import Adopted
from jobs.postgres.billing_mode_history import Entry
from jobs.postgres.rejects import RejectChange
from jobs.postgres.run_scope import RunScope
from jobs.postgres.usage_writeback import LostRow
from jobs.rollups.causes import KEY, SUMS
from jobs.rollups.changes import NONE, list_changes, text_of


def usage_changes(rows: pl.DataFrame, lost: Sequence[LostRow]) -> pl.DataFrame:
    """Rows of usage_daily: total_cost and credits_deducted, in units of 10^-10. In: see draw_windows.rows_to_write."""
    written = rows.select(
        _uuids(rows["id"]),
        pl.col("user_id").cast(pl.String),
        text_of(["recorded", "deducted"]).alias("old"),
        text_of([pl.coalesce("target", "recorded"), pl.coalesce("credits", "deducted")]).alias("new"),
    )
    # They are listed under the user whose batch writes them, whichever user has the row now.
    others = [(str(row.id), min(row.reversed), f"\x00\x1f{row.old}", f"\x00\x1f{row.new}") for row in lost]
    every = pl.concat([written, pl.DataFrame(others, schema=written.schema, orient="row")])
    return list_changes("usage_daily", every.lazy(), ["id"], old=pl.col("old"), new=pl.col("new"), owner="user_id")


def posting_changes(scope: RunScope, postings: pl.DataFrame, before: pl.DataFrame, after: pl.DataFrame) -> pl.DataFrame:
    """What is posted: ledger, transactions, and accounts as they are ``before`` and ``after``."""
    if postings.is_empty():
        return NONE
    rows, nothing = postings.with_columns(_uuids(postings["id"])), pl.lit(None)
    new = text_of(["date", "free", "purchased"])
    parts = [
        list_changes("credit_draws", rows.lazy(), ["id", "user_id", "month"], old=nothing, new=new, owner="user_id")
    ]
    if scope.query.read.credits.transactions:
        fresh, net = transactions(rows)
        for some, key in ((fresh, ["user_id", "id"]), (net, ["user_id", "month"])):
            new = text_of([0 - pl.col("amount")])
            parts.append(list_changes("credit_transactions", some.lazy(), key, old=nothing, new=new, owner="user_id"))
    then = after.lazy().select("user_id", text_of(NUMBERS).alias("new"))
    moved = before.lazy().select("user_id", text_of(NUMBERS).alias("old")).join(then, on="user_id")
    moved = moved.filter(pl.col("old") != pl.col("new"))
    old, new = pl.col("old"), pl.col("new")
    return pl.concat([*parts, list_changes("user_credits", moved, ["user_id"], old=old, new=new, owner="user_id")])


def adopted_changes(adopted: pl.DataFrame) -> pl.DataFrame:
    """What is taken into the ledger of rows of some users (schemas.DRAWS)."""
    rows, new = adopted.with_columns(_uuids(adopted["id"])), text_of(["date", "free", "purchased"])
    return list_changes(
        "credit_draws", rows.lazy(), [pl.lit("adopted"), "id", "user_id"], old=pl.lit(None), new=new, owner="user_id"
    )


def correction_changes(corrected: pl.DataFrame) -> pl.DataFrame:
    """Rows of rollup.corrections (rollups.causes)."""
    old, new = text_of([f"old_{name}" for name in SUMS]), text_of([*(f"new_{name}" for name in SUMS), "cause"])
    return list_changes("corrections", corrected.lazy(), KEY, old=old, new=new, owner="user_id")


def reject_changes(rejects: Sequence[RejectChange]) -> pl.DataFrame:
    """Rows of rollup.rejects."""
    rows = pl.DataFrame(
        [(row.id, row.user, row.old, row.new) for row in rejects],
        schema=dict.fromkeys(("id", "user", "old", "new"), pl.String),
        orient="row",
    )
    return list_changes("rejects", rows.lazy(), ["id"], old=pl.col("old"), new=pl.col("new"), owner="user")


def mode_changes(entries: Sequence[Entry]) -> pl.DataFrame:
    """Entries of billing_modes."""
    schema = {"user_id": pl.String, "valid_from": pl.Date, "mode": pl.String}
    rows = pl.DataFrame(list(entries), schema=schema, orient="row")
    key, new = ["user_id", "valid_from"], text_of(["mode"])
    return list_changes("billing_modes", rows.lazy(), key, old=pl.lit(None), new=new, owner="user_id")


def adoption_changes(adopted: Adopted | None) -> pl.DataFrame:
    """What another program has drawn, as one row: it is imported all at once or not at all."""
    found = [] if adopted is None else [(adopted.rows, str(adopted.total))]
    rows = pl.DataFrame(found, schema={"rows": pl.Int64, "total": pl.String}, orient="row")
    new = text_of(["rows", "total"])
    return list_changes("credit_draws", rows.lazy(), [pl.lit("adopted")], old=pl.lit(None), new=new)


def month_changes(months: Sequence[tuple[date, str, str]]) -> pl.DataFrame:
    """Rows of rollup.months: month, what it says, what it shall say."""
    rows = pl.DataFrame(list(months), schema={"month": pl.Date, "old": pl.String, "new": pl.String}, orient="row")
    return list_changes("months", rows.lazy(), ["month"], old=pl.col("old"), new=pl.col("new"))


def _uuids(ids: pl.Series) -> pl.Series:
    return pl.Series("id", [str(UUID(int=id_)) for id_ in ids], dtype=pl.String)
