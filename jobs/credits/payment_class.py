"""Who pays how: each row's class by the modes' history, and its part of what is quantized (DESIGN sections 2 and 4).

``class`` of a row: PREPAID rows are drawn from credits; EARLY ones are prepaid, but before the first day that is drawn;
FREE ones cost nobody anything; every other mode, null and unknown included, is DUE.
"""

import polars as pl

from jobs.domain.fixed_point_columns import UNMEASURED, BoundedInt, ColumnBounds, quantized, where
from jobs.domain.rules import CreditRules
from jobs.domain.schemas import CODED, DUE, EARLY, FREE, PREPAID


def classify_payment(
    rows: pl.LazyFrame, modes: pl.LazyFrame, rules: CreditRules, bounds: ColumnBounds = UNMEASURED
) -> pl.LazyFrame:
    """Adds ``class``, ``part`` (of the ledger), ``due_part`` and ``free_part`` (units of 10^-10) to priced rows in row
    order.

    In: ``imported`` says that a draw of another program was adopted for the row, which then is prepaid; ``modes``:
    user_id, valid_from, mode, of which the newest entry on or before a row's day holds.
    """
    history = modes.select(CODED, "valid_from", "mode").sort("valid_from")
    with_mode = rows.join_asof(
        history, left_on="date", right_on="valid_from", by="user_id", check_sortedness=False, coalesce=False
    )
    prepaid = pl.col("imported") | (pl.col("mode") == "prepaid").fill_null(value=False)
    early = pl.lit(value=False) if rules.start is None else pl.col("date") < rules.start
    by_mode = (
        pl.when(prepaid & early)
        .then(pl.lit(EARLY))
        .when(prepaid)
        .then(pl.lit(PREPAID))
        .when(pl.col("mode") == "free")
        .then(pl.lit(FREE))
        .otherwise(pl.lit(DUE))
    )
    return (
        with_mode.with_columns(by_mode.cast(pl.Int8).alias("class"))
        .drop("valid_from", "mode")
        .with_columns(
            part=quantized_part(PREPAID, rules.scale, bounds).wide,
            due_part=quantized_part(DUE, rules.due_scale, bounds).wide,
            free_part=quantized_part(FREE, rules.due_scale, bounds).wide,
        )
    )


def quantized_part(of: int, scale: int, bounds: ColumnBounds) -> BoundedInt:
    """Rows of another class add nothing to the running cost, so that their own part of it is 0."""
    cost = where(pl.col("class") == of, bounds.column("total_cost"), BoundedInt.of(0))
    return quantized(cost, scale, bounds.rows)
