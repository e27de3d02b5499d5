"""Rows that a run writes, listed the same way for every table: key, stored value, new value.

A plan is the list of all these rows. Its hash is a sum over rows, so it depends neither on their order nor on batches.
"""

import hashlib
from collections.abc import Sequence

import polars as pl

from jobs.domain.schemas import Schema

CHANGES: Schema = {
    "table": pl.String,
    "key": pl.String,
    "user": pl.String,
    "cluster": pl.UInt128,
    "old": pl.String,
    "new": pl.String,
}
"""One row per row to be written. ``old`` is null where the row is new, ``new`` where it is deleted. ``user`` is null in
the tables of clusters and months. ``cluster`` is null in all other tables, and for usage without a cluster."""
NO_CHANGES = pl.DataFrame(schema=CHANGES)
SEPARATOR = "\x1f"
MODULUS = 2**256


def join_text(columns: Sequence[str | pl.Expr]) -> pl.Expr:
    """Returns ``columns`` as one text; a null differs from every value."""
    values = [pl.col(column) if isinstance(column, str) else column for column in columns]
    return pl.concat_str([value.cast(pl.String).fill_null("\x00") for value in values], separator=SEPARATOR)


def list_changes(
    table: str,
    rows: pl.LazyFrame,
    key: Sequence[str | pl.Expr],
    *,
    old: pl.Expr,
    new: pl.Expr,
    owner: str | None = None,
) -> pl.DataFrame:
    """Returns ``rows`` of ``table`` as CHANGES; ``owner`` names the column of the user or the cluster."""
    cluster = owner if owner == "cluster_id" else None
    user = None if cluster else owner
    by_column = {
        "table": pl.lit(table),
        "key": join_text(key),
        "user": pl.lit(None) if user is None else pl.col(user),
        "cluster": pl.lit(None) if cluster is None else pl.col(cluster),
        "old": old,
        "new": new,
    }
    return rows.select(by_column[name].cast(kind).alias(name) for name, kind in CHANGES.items()).collect()


def list_row_diff(
    table: str, upserts: pl.DataFrame, deletes: pl.DataFrame, stored: pl.LazyFrame, key: Sequence[str]
) -> pl.DataFrame:
    """Returns as CHANGES the rows of a roll-up that are upserted or deleted; ``stored``: what the table has now."""
    values = [name for name in upserts.columns if name not in key]
    owner = "user_id" if "user_id" in key else "cluster_id"
    before = stored.select(*key, join_text(values).alias("old"))
    upserted = (
        upserts.lazy()
        .with_columns(join_text(values).alias("new"))
        .join(before, on=list(key), how="left", nulls_equal=True)
    )
    deleted = deletes.lazy().join(before, on=list(key), how="left", nulls_equal=True).with_columns(new=pl.lit(None))
    return pl.concat(
        [
            list_changes(table, rows, key, old=pl.col("old"), new=pl.col("new"), owner=owner)
            for rows in (upserted, deleted)
        ]
    )


def sum_digests(changes: pl.DataFrame) -> dict[str | None, int]:
    """Returns by user the sum of the hashes of ``changes``, modulo MODULUS; None: of rows without a user."""
    sums: dict[str | None, int] = {}
    for user, *values in changes.select("user", "table", "key", "old", "new").iter_rows():
        text = "\x1e".join("\x00" if value is None else value for value in values)
        sums[user] = (sums.get(user, 0) + int.from_bytes(hashlib.sha256(text.encode()).digest())) % MODULUS
    return sums


def compare_rows(target: pl.LazyFrame, stored: pl.LazyFrame, keys: Sequence[str]) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Returns target rows that are new or differ, and keys of stored rows without a target.

    Nulls are equal, in ``keys`` and in values.
    """
    columns = target.collect_schema().names()
    stored = stored.select(columns)
    same = target.join(stored, on=columns, how="semi", nulls_equal=True).select(keys)
    upserts = target.join(same, on=list(keys), how="anti", nulls_equal=True)
    deletes = stored.join(target, on=list(keys), how="anti", nulls_equal=True).select(keys)
    collected = pl.collect_all([upserts, deletes])
    return collected[0], collected[1]
