"""What a run would write, listed the same way for every table: which row, what it says now, what it shall say.

A plan is all of these together. Its hash is a sum over rows, so that neither their order nor batches count.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import polars as pl

CHANGES: dict[str, pl.DataType | type[pl.DataType]] = {
    "table": pl.String,
    "key": pl.String,
    "user": pl.String,
    "cluster": pl.UInt128,
    "old": pl.String,
    "new": pl.String,
}
"""One row per row to be written. ``old`` is null where there is none yet, ``new`` where it goes; ``user``: whose it
is, null in the tables of clusters and months; ``cluster``: null elsewhere, and for the row without one."""
NONE = pl.DataFrame(schema=CHANGES)
BETWEEN = "\x1f"
MODULUS = 2**256


def text_of(names: Sequence[str | pl.Expr]) -> pl.Expr:
    """Columns as one text; nulls differ from every value."""
    parts = [pl.col(name) if isinstance(name, str) else name for name in names]
    return pl.concat_str([part.cast(pl.String).fill_null("\x00") for part in parts], separator=BETWEEN)


def list_changes(
    table: str,
    rows: pl.LazyFrame,
    key: Sequence[str | pl.Expr],
    *,
    old: pl.Expr,
    new: pl.Expr,
    owner: str | None = None,
) -> pl.DataFrame:
    """``rows`` as CHANGES, by these expressions of their columns; ``owner`` names the column of user or cluster."""
    cluster = owner if owner == "cluster_id" else None
    user = None if cluster else owner
    by_column = {
        "table": pl.lit(table),
        "key": text_of(key),
        "user": pl.lit(None) if user is None else pl.col(user),
        "cluster": pl.lit(None) if cluster is None else pl.col(cluster),
        "old": old,
        "new": new,
    }
    return rows.select(by_column[name].cast(kind).alias(name) for name, kind in CHANGES.items()).collect()


def list_replaced(
    table: str, put: pl.DataFrame, gone: pl.DataFrame, stored: pl.LazyFrame, key: Sequence[str]
) -> pl.DataFrame:
    """Whole rows of a roll-up that are put in or taken away, where the table holds ``stored``."""
    values = [name for name in put.columns if name not in key]
    owner = "user_id" if "user_id" in key else "cluster_id"
    before = stored.select(*key, text_of(values).alias("old"))
    into = (
        put.lazy().with_columns(text_of(values).alias("new")).join(before, on=list(key), how="left", nulls_equal=True)
    )
    away = gone.lazy().join(before, on=list(key), how="left", nulls_equal=True).with_columns(new=pl.lit(None))
    return pl.concat(
        [list_changes(table, rows, key, old=pl.col("old"), new=pl.col("new"), owner=owner) for rows in (into, away)]
    )


def digests(changes: pl.DataFrame) -> dict[str | None, int]:
    """By user (None: of nobody) the sum of the rows' hashes, below MODULUS; nobody whose sum would be of nothing."""
    sums: dict[str | None, int] = {}
    for user, *parts in changes.select("user", "table", "key", "old", "new").iter_rows():
        text = "\x1e".join("\x00" if part is None else part for part in parts)
        sums[user] = (sums.get(user, 0) + int.from_bytes(hashlib.sha256(text.encode()).digest())) % MODULUS
    return sums


@dataclass(frozen=True, slots=True)
class Difference:
    """``put``: whole target rows that are new or differ; ``gone``: keys of standing rows without a target."""

    put: pl.LazyFrame
    gone: pl.LazyFrame


def difference(target: pl.LazyFrame, standing: pl.LazyFrame, keys: Sequence[str]) -> Difference:
    """Compares two frames of the same columns by ``keys``; nulls are equal, in keys and in values."""
    columns = target.collect_schema().names()
    standing = standing.select(columns)
    same = target.join(standing, on=columns, how="semi", nulls_equal=True).select(keys)
    return Difference(
        put=target.join(same, on=list(keys), how="anti", nulls_equal=True),
        gone=standing.join(target, on=list(keys), how="anti", nulls_equal=True).select(keys),
    )
