"""What must be written so that what stands becomes what should be: nothing that is equal already."""

from collections.abc import Sequence
from dataclasses import dataclass

import polars as pl


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
