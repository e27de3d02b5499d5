"""Allocation of prepaid credit for all users of a batch at once (invariant 3).

Computes what each row demands of the user's lots of credit (``lots``), what it gets, and what is left to be paid in
another way.

Earlier draws of the window are used only to compute how much credit there is without them. So the result is the same
however often, late or out of order it is computed. ``ledger_entries.make_postings`` gives the difference from the
ledger.
"""

import polars as pl

from jobs.credits.lots import LOTS, allocate_lots, lot_balances
from jobs.credits.payment_class import classify_payment, quantized_part
from jobs.domain.fixed_point_columns import UNMEASURED, WIDE, ColumnBounds, int128
from jobs.domain.rules import CreditRules
from jobs.domain.schemas import CODED, DRAWN, EARLY, PREPAID

_ROW_KEY = ["user_id", "id"]
DECIDING = [*_ROW_KEY, "date", "new_month", "total_cost", "reported"]
"""The columns of a row that its draws depend on. Joins copy every column, so the others are left out."""


def allocate_credits(  # noqa: PLR0913 - the frames that decide a draw
    rows: pl.LazyFrame,
    billing_modes: pl.LazyFrame,
    accounts: pl.LazyFrame,
    ledger: pl.LazyFrame,
    rules: CreditRules,
    bounds: ColumnBounds = UNMEASURED,
    *,
    closed_month_draws: pl.LazyFrame | None = None,
) -> pl.LazyFrame:
    """Returns priced rows with their payment class and the draws that the ledger should have.

    Adds, in units of 10^-10: ``part`` and ``due_part`` (``classify_payment``), ``free`` and ``purchased`` (the draws),
    ``uncovered``, ``amount_due``, ``amount_reported`` and ``amount_free``; and ``class``.

    - ``rows``: priced, in row order, of the months of one draw window;
    - ``billing_modes``: schemas.MODES;
    - ``accounts``: schemas.ACCOUNTS;
    - ``ledger``: the draws that the ledger has in these months (schemas.DRAWS);
    - ``closed_month_draws``: id, user_id and ``elsewhere``: what the user has drawn on the row in a closed month.
    """
    classified = _classify_rows(rows, billing_modes, accounts, ledger, rules, bounds)
    classified = _subtract_closed_months(classified, closed_month_draws)
    return _draw(classified, _window_lots(classified, accounts, ledger, rules), rules, rows, bounds)


def window_lots(
    rows: pl.LazyFrame, billing_modes: pl.LazyFrame, accounts: pl.LazyFrame, ledger: pl.LazyFrame, rules: CreditRules
) -> pl.LazyFrame:
    """Returns by user the credit for a draw window, without the window's own draws: ``<lot>_left``.

    Parameters: as of ``allocate_credits``.
    """
    return _window_lots(_classify_rows(rows, billing_modes, accounts, ledger, rules), accounts, ledger, rules)


def settle_debts(debts: pl.DataFrame, lots: pl.LazyFrame, unit: int) -> pl.DataFrame:
    """Returns ``debts`` with ``free`` and ``purchased``: what ``lots`` pay of the ``open`` amount of each.

    Debts of which nothing is paid are left out.

    - ``debts``: those of one user are adjacent, the oldest first;
    - ``lots``: ``<lot>_left`` by user;
    - ``unit``: amounts paid are int128 multiples of it (units of 10^-10).
    """
    demanded = debts.with_columns(CODED, demand=pl.col("open") // unit * unit)
    drawn = allocate_lots(
        demanded.lazy().join(lots, on="user_id", how="left", maintain_order="left"),
        LOTS,
        ColumnBounds.of(demanded, ["demand"]),
    )
    paid = drawn.with_columns(pl.col(f"{lot}_drawn").cast(WIDE).alias(lot) for lot in LOTS)
    return (
        paid.filter((pl.col("free") != 0) | (pl.col("purchased") != 0))
        .select(*debts.columns, *LOTS)
        .with_columns(pl.col("user_id").cast(pl.String))
        .collect()
    )


def apply_ledger(
    rows: pl.LazyFrame,
    billing_modes: pl.LazyFrame,
    ledger: pl.LazyFrame,
    rules: CreditRules,
    closed_month_draws: pl.LazyFrame | None = None,
) -> pl.LazyFrame:
    """Returns what ``allocate_credits`` returns, with the draws that the ledger has, not those that it should have."""
    classified = classify_payment(_add_ledger(rows.select(DECIDING), ledger), billing_modes, rules)
    classified = _subtract_closed_months(classified, closed_month_draws)
    return _add_payment(classified, [pl.col(f"ledger_{lot}").alias(lot) for lot in LOTS], rows)


def _classify_rows(
    rows: pl.LazyFrame,
    billing_modes: pl.LazyFrame,
    accounts: pl.LazyFrame,
    ledger: pl.LazyFrame,
    rules: CreditRules,
    bounds: ColumnBounds = UNMEASURED,
) -> pl.LazyFrame:
    """Returns rows with their payment class, whether there is an account, and their fixed draws."""
    classified = classify_payment(_add_ledger(rows.select(DECIDING), ledger), billing_modes, rules, bounds)
    known = accounts.select(CODED, has_account=pl.lit(value=True))
    return _add_fixed_draws(classified.join(known, on="user_id", how="left", maintain_order="left"))


def _add_ledger(rows: pl.LazyFrame, ledger: pl.LazyFrame) -> pl.LazyFrame:
    """Adds what the ledger has on each row for its present user, and what of that was imported."""
    by_row = ledger.group_by(_ROW_KEY).agg(
        *(pl.col(lot).sum().alias(f"ledger_{lot}") for lot in LOTS),
        *(pl.col(lot).filter("imported").sum().alias(f"imported_{lot}") for lot in LOTS),
        pl.col("imported").any(),
    )
    amounts = [f"{kind}_{lot}" for kind in ("ledger", "imported") for lot in LOTS]
    return rows.join(by_row.with_columns(CODED), on=_ROW_KEY, how="left", maintain_order="left").with_columns(
        pl.col(amounts).fill_null(0), pl.col("imported").fill_null(value=False)
    )


def _add_fixed_draws(classified: pl.LazyFrame) -> pl.LazyFrame:
    """Adds ``fixed_<lot>``: draws that stay as they are, whatever the row costs now.

    These are all draws of a row that was reported, or whose user has no account; and of a row before the first day
    that is drawn, the imported draws, as far as they have not been given back.
    """
    is_fixed = pl.col("reported") | pl.col("has_account").is_null()
    return classified.with_columns(
        pl.when(is_fixed)
        .then(pl.col(f"ledger_{lot}"))
        .when(pl.col("class") == EARLY)
        .then(pl.min_horizontal(f"imported_{lot}", f"ledger_{lot}"))
        .otherwise(int128(0))
        .alias(f"fixed_{lot}")
        for lot in LOTS
    )


def _subtract_closed_months(classified: pl.LazyFrame, closed_month_draws: pl.LazyFrame | None) -> pl.LazyFrame:
    """Reduces ``part`` by what was drawn on the row in a closed month, to 0 at the lowest."""
    if closed_month_draws is None:
        return classified
    rest = (pl.col("part") - pl.col("elsewhere").fill_null(0)).clip(lower_bound=int128(0))
    return (
        classified.join(closed_month_draws, on=_ROW_KEY, how="left", maintain_order="left")
        .with_columns(part=rest)
        .drop("elsewhere")
    )


def _window_lots(
    classified: pl.LazyFrame, accounts: pl.LazyFrame, ledger: pl.LazyFrame, rules: CreditRules
) -> pl.LazyFrame:
    fixed = classified.group_by("user_id").agg(pl.col(f"fixed_{lot}").sum() for lot in LOTS)
    return lot_balances(accounts, ledger, fixed, rules)


def _draw(
    classified: pl.LazyFrame, lots: pl.LazyFrame, rules: CreditRules, rows: pl.LazyFrame, bounds: ColumnBounds
) -> pl.LazyFrame:
    """Returns ``rows`` with the draws on ``lots`` added to their fixed draws."""
    by_row = classified.select("user_id").join(lots, on="user_id", how="left", maintain_order="left").drop("user_id")
    demanding = pl.concat([classified, by_row], how="horizontal").with_columns(demand=_demand())
    most = quantized_part(PREPAID, rules.scale, bounds).most
    drawn = allocate_lots(demanding, LOTS, ColumnBounds(bounds.rows, {"demand": (0, most)}))
    draws = [(pl.col(f"{lot}_drawn") + pl.col(f"fixed_{lot}")).alias(lot) for lot in LOTS]
    return _add_payment(drawn, draws, rows)


def _demand() -> pl.Expr:
    """Returns what a row demands of the lots: its part if it is prepaid, not reported, and its user has an account."""
    demands = (pl.col("class") == PREPAID) & ~pl.col("reported") & pl.col("has_account").is_not_null()
    return pl.when(demands).then(pl.col("part")).otherwise(int128(0))


def _add_payment(classified: pl.LazyFrame, draws: list[pl.Expr], rows: pl.LazyFrame) -> pl.LazyFrame:
    """Adds to ``rows`` their ``draws``, and what is left of each part: uncovered, due, or reported."""
    reported, taken, nothing = pl.col("reported"), DRAWN, int128(0)
    owed = (pl.col("part") + pl.col("due_part") - taken).clip(lower_bound=nothing)
    paid = classified.with_columns(draws).select(
        "class",
        "part",
        "due_part",
        *LOTS,
        uncovered=pl.when(~reported).then((pl.col("part") - taken).clip(lower_bound=nothing)).otherwise(nothing),
        amount_due=pl.when(~reported).then(pl.col("due_part")).otherwise(nothing),
        amount_reported=pl.when(reported).then(owed).otherwise(nothing),
        amount_free=pl.col("_free_part"),
    )
    return pl.concat([rows, paid], how="horizontal")
