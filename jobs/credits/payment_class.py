"""How each row is paid: its payment class by the user's billing modes, and its part of the quantized cost.

Values of ``class`` (manual: credits): PREPAID rows are drawn from credits. EARLY rows are prepaid, but lie before
``credits.start``, from which day on credits pay. FREE rows are paid by no one. Rows of every other billing mode, null
and unknown ones included, are DUE.
"""

import polars as pl

from jobs.domain.fixed_point_columns import int128, quantize
from jobs.domain.rules import CreditRules
from jobs.domain.schemas import DUE, EARLY, FREE, PREPAID, USER_AS_CATEGORY


def classify_payment(rows: pl.LazyFrame, billing_modes: pl.LazyFrame, rules: CreditRules) -> pl.LazyFrame:
    """Adds ``class``, and ``prepaid_part`` (prepaid), ``due_part`` and ``_free_part`` of the cost (units of 10^-10).

    - ``rows``: priced, in row order; ``imported``: whether a draw of another program was adopted for the row, which
      makes the row prepaid;
    - ``billing_modes``: schemas.BILLING_MODE_ENTRIES; the newest entry on or before a row's day holds.
    """
    history = billing_modes.select(USER_AS_CATEGORY, "valid_from", "mode").sort("valid_from")
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
            prepaid_part=_quantize_part(PREPAID, rules.scale),
            due_part=_quantize_part(DUE, rules.due_scale),
            _free_part=_quantize_part(FREE, rules.due_scale),
        )
    )


def _quantize_part(payment_class: int, scale: int) -> pl.Expr:
    """Returns each row's part of the user's running cost in the month, over rows of ``payment_class``, with ``scale``
    decimals.

    Rows of another class add nothing to the running cost, so their part is 0.
    """
    cost = pl.when(pl.col("class") == payment_class).then(pl.col("total_cost")).otherwise(int128(0))
    return quantize(cost, scale)
