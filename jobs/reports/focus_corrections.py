"""The rows of a FOCUS file for corrections: changes of a month after it was closed.

The usage of the file is that of the tables, with every correction in it. So each correction has two rows: one with
ChargeClass Correction, and one without that takes the same amounts off again. The rows without ChargeClass then add up
to the month as it was closed, those with it to its corrections, and all together to the tables.
"""

import polars as pl

from jobs.domain.fixed_point_columns import int128
from jobs.postgres.run_scope import RunScope
from jobs.reports.focus_rows import AMOUNTS, complete


def list_corrections(scope: RunScope, corrections: pl.DataFrame) -> pl.DataFrame:
    """Returns the rows (focus_rows.ROWS) of ``corrections`` (postgres.corrections) of the month of ``scope``."""
    change = {name: _change(name) for name in ("total", "uncovered", "amount_due", "amount_reported")}
    cause = pl.format("correction by run {} ({})", "run_id", "cause")
    reason = pl.when(pl.col("reason").fill_null("") != "").then(pl.lit(": ") + pl.col("reason")).otherwise(pl.lit(""))
    corrected = corrections.select(
        "user_id",
        category=pl.lit("Adjustment"),
        charge_class=pl.lit("Correction"),
        text=pl.lit("The ") + cause + reason,
        first=pl.lit(scope.window.first),
        last=pl.lit(scope.window.last),
        list_cost=change["total"],
        contracted_cost=change["total"],
        effective_cost=pl.when(pl.col("billing_mode") == "free").then(int128(0)).otherwise(change["total"]),
        billed_cost=change["amount_due"] + change["amount_reported"],
        uncovered=change["uncovered"],
        amount_due=change["amount_due"],
        amount_reported=change["amount_reported"],
    )
    rows = complete(corrected)
    before = rows.filter(pl.any_horizontal(pl.col(name) != 0 for name in AMOUNTS)).with_columns(
        *((int128(0) - pl.col(name)).alias(name) for name in AMOUNTS),
        charge_class=pl.lit(None, dtype=pl.String),
        text=pl.lit("The month before the c") + pl.col("text").str.slice(len("The c")),
    )
    return pl.concat([rows, before]).sort("user_id", maintain_order=True)


def _change(name: str) -> pl.Expr:
    """The new amount less the old one; 0 where these were not stored."""
    return (pl.col(f"new_{name}") - pl.col(f"old_{name}")).fill_null(int128(0))
