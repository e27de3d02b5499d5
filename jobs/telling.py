"""What a run writes, told row by row for a plan (compute.changes)."""

from collections.abc import Sequence
from datetime import date
from uuid import UUID

import polars as pl

from jobs.compute.changes import NONE, text_of, told
from jobs.drawing import Drawn
from jobs.model.frames import NUMBERS
from jobs.model.scale import scaled
from jobs.plan import Plan
from jobs.store.accounts import transactions
from jobs.store.adoption import Adopted
from jobs.store.ledger import Mended
from jobs.store.rejects import Written


def told_usage(todo: pl.DataFrame, mended: Sequence[Mended]) -> pl.DataFrame:
    """Rows of usage_daily: total_cost and credits_deducted, in units of 10^-10. In: see ``chunk.to_write``."""
    written = todo.select(
        _uuids(todo["id"]),
        pl.col("user_id").cast(pl.String),
        text_of(["recorded", "deducted"]).alias("old"),
        text_of([pl.coalesce("target", "recorded"), pl.when("drawn").then("shall").otherwise("deducted")]).alias("new"),
    )
    reversed_ = [
        (str(UUID(int=row.id)), row.user, f"\x00\x1f{scaled(row.old)}", f"\x00\x1f{scaled(row.new)}") for row in mended
    ]
    every = pl.concat([written, pl.DataFrame(reversed_, schema=written.schema, orient="row")])
    return told("usage_daily", every.lazy(), ["id"], old=pl.col("old"), new=pl.col("new"), owner="user_id")


def told_postings(plan: Plan, found: Drawn) -> pl.DataFrame:
    """What is booked: ledger, transactions, accounts."""
    due = found.postings
    if due.is_empty():
        return NONE
    rows, nothing = due.with_columns(_uuids(due["id"])), pl.lit(None)
    new = text_of(["date", "free", "purchased"])
    parts = [told("credit_draws", rows.lazy(), ["id", "user_id", "month"], old=nothing, new=new, owner="user_id")]
    if plan.query.read.credits.transactions:
        fresh, net = transactions(rows)
        for some, key in ((fresh, ["user_id", "id"]), (net, ["user_id", "month"])):
            new = text_of([0 - pl.col("amount")])
            parts.append(told("credit_transactions", some.lazy(), key, old=nothing, new=new, owner="user_id"))
    after = found.accounts.lazy().select("user_id", text_of(NUMBERS).alias("new"))
    moved = found.before.lazy().select("user_id", text_of(NUMBERS).alias("old")).join(after, on="user_id")
    moved = moved.filter(pl.col("old") != pl.col("new"))
    return pl.concat(
        [*parts, told("user_credits", moved, ["user_id"], old=pl.col("old"), new=pl.col("new"), owner="user_id")]
    )


def _uuids(ids: pl.Series) -> pl.Series:
    return pl.Series("id", [str(UUID(int=id_)) for id_ in ids], dtype=pl.String)


def told_begin(modes: Sequence[tuple[str, date, str | None]]) -> pl.DataFrame:
    """Entries of billing_modes."""
    rows = pl.DataFrame(modes, schema={"user_id": pl.String, "valid_from": pl.Date, "mode": pl.String}, orient="row")
    new = text_of(["mode"])
    return told("billing_modes", rows.lazy(), ["user_id", "valid_from"], old=pl.lit(None), new=new, owner="user_id")


def told_adoption(adopted: Adopted | None) -> pl.DataFrame:
    """What another program has drawn, as one row: it is imported all at once or not at all."""
    found = [] if adopted is None else [(adopted.rows, str(adopted.total))]
    rows = pl.DataFrame(found, schema={"rows": pl.Int64, "total": pl.String}, orient="row")
    return told("credit_draws", rows.lazy(), [pl.lit("adopted")], old=pl.lit(None), new=text_of(["rows", "total"]))


def told_end(rejected: Sequence[Written], booked: Sequence[tuple[date, str, str]]) -> pl.DataFrame:
    """Rows of rejects and months."""
    rejects = pl.DataFrame(
        [(row.id, row.user, row.old, row.new) for row in rejected],
        schema=dict.fromkeys(("id", "user", "old", "new"), pl.String),
        orient="row",
    )
    months = pl.DataFrame(booked, schema={"month": pl.Date, "old": pl.String, "new": pl.String}, orient="row")
    old, new = pl.col("old"), pl.col("new")
    return pl.concat(
        [
            told("rejects", rejects.lazy(), ["id"], old=old, new=new, owner="user"),
            told("months", months.lazy(), ["month"], old=old, new=new),
        ]
    )
