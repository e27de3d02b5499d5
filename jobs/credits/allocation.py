"""Prepaid draws for all users of a batch at once (invariant 3): what each row demands of the user's lots of
credit (``lots``), what it gets, and what is left to be paid otherwise.

Nothing here looks at what was drawn before, except to know how much credit there is without this window's own draws:
the outcome is the same however often, late or out of order it is computed. ``postings`` are the difference.
"""

import polars as pl

from jobs.credits.lots import LOTS, allocate_lots, lot_balances
from jobs.credits.payment_class import classify_payment, quantized_part
from jobs.domain.fixed_point_columns import UNMEASURED, WIDE, ColumnBounds, int128
from jobs.domain.rules import CreditRules
from jobs.domain.schemas import CODED, EARLY, PREPAID

_OF_ROW = ["user_id", "id"]
DECIDING = [*_OF_ROW, "date", "new_month", "total_cost", "reported"]
"""All of a row that draws depend on: joins copy every column that they carry along."""


def allocate_credits(  # noqa: PLR0913 - the frames that decide a draw
    rows: pl.LazyFrame,
    modes: pl.LazyFrame,
    accounts: pl.LazyFrame,
    booked: pl.LazyFrame,
    rules: CreditRules,
    bounds: ColumnBounds = UNMEASURED,
    *,
    elsewhere: pl.LazyFrame | None = None,
) -> pl.LazyFrame:
    """Adds to priced rows in row order: class, parts, ``free`` and ``purchased`` (the draws that the ledger shall
    hold), ``uncovered``, ``amount_due``, ``amount_reported`` and ``amount_free``, in units of 10^-10.

    In: ``accounts`` (schemas.ACCOUNTS) and ``booked`` (schemas.DRAWS), of the months of one draw window; ``elsewhere``
    (id, user_id, elsewhere): what is drawn of a row already, in another.
    """
    kept = _less(_kept_of(rows, modes, accounts, booked, rules, bounds), elsewhere)
    return _drawn(kept, _lots(kept, accounts, booked, rules), rules, rows, bounds)


def lots_of_window(
    rows: pl.LazyFrame, modes: pl.LazyFrame, accounts: pl.LazyFrame, booked: pl.LazyFrame, rules: CreditRules
) -> pl.LazyFrame:
    """By user what the account has for a window, its draws included: ``<lot>_left``. In: as ``allocate_credits``."""
    return _lots(_kept_of(rows, modes, accounts, booked, rules), accounts, booked, rules)


def settle_debts(debts: pl.DataFrame, lots: pl.LazyFrame, unit: int) -> pl.DataFrame:
    """``debts`` with ``free`` and ``purchased``: what ``lots`` pay of what is ``open`` of each, in whole multiples of
    ``unit``; those of which nothing is paid are left out. In: debts of a user lie together, oldest first."""
    demand = (pl.col("open") // unit * unit).alias("demand")
    asked = debts.with_columns(CODED, demand)
    found = allocate_lots(
        asked.lazy().join(lots, on="user_id", how="left", maintain_order="left"),
        LOTS,
        ColumnBounds.of(asked, ["demand"]),
    )
    paid = found.with_columns(pl.col(f"{lot}_drawn").cast(WIDE).alias(lot) for lot in LOTS)
    return (
        paid.filter((pl.col("free") != 0) | (pl.col("purchased") != 0))
        .select(*debts.columns, *LOTS)
        .with_columns(pl.col("user_id").cast(pl.String))
        .collect()
    )


def _kept_of(
    rows: pl.LazyFrame,
    modes: pl.LazyFrame,
    accounts: pl.LazyFrame,
    booked: pl.LazyFrame,
    rules: CreditRules,
    bounds: ColumnBounds = UNMEASURED,
) -> pl.LazyFrame:
    rows_by_class = classify_payment(_with_booked(rows.select(DECIDING), booked), modes, rules, bounds)
    return _kept(rows_by_class.join(_known(accounts), on="user_id", how="left", maintain_order="left"))


def _lots(kept: pl.LazyFrame, accounts: pl.LazyFrame, booked: pl.LazyFrame, rules: CreditRules) -> pl.LazyFrame:
    stays = kept.group_by("user_id").agg(pl.col(f"kept_{lot}").sum() for lot in LOTS)
    return lot_balances(accounts, booked, stays, rules)


def _drawn(
    kept: pl.LazyFrame, lots: pl.LazyFrame, rules: CreditRules, rows: pl.LazyFrame, bounds: ColumnBounds
) -> pl.LazyFrame:
    of_user = kept.select("user_id").join(lots, on="user_id", how="left", maintain_order="left").drop("user_id")
    demanding = pl.concat([kept, of_user], how="horizontal").with_columns(demand=_demand())
    most = quantized_part(PREPAID, rules.scale, bounds).most
    drawn = allocate_lots(demanding, LOTS, ColumnBounds(bounds.rows, {"demand": (0, most)}))
    return _paid(drawn, [(pl.col(f"{lot}_drawn") + pl.col(f"kept_{lot}")).alias(lot) for lot in LOTS], rows)


def apply_ledger(
    rows: pl.LazyFrame,
    modes: pl.LazyFrame,
    booked: pl.LazyFrame,
    rules: CreditRules,
    elsewhere: pl.LazyFrame | None = None,
) -> pl.LazyFrame:
    """What ``allocate_credits`` adds, with the draws that stand in the ledger instead of those that it shall hold."""
    rows_by_class = _less(classify_payment(_with_booked(rows.select(DECIDING), booked), modes, rules), elsewhere)
    return _paid(rows_by_class, [pl.col(f"booked_{lot}").alias(lot) for lot in LOTS], rows)


def _paid(rows_by_class: pl.LazyFrame, draws: list[pl.Expr], rows: pl.LazyFrame) -> pl.LazyFrame:
    """``rows`` with their draws (``draws``), and what is left of each part: uncovered, due, or reported."""
    reported, taken, nothing = pl.col("reported"), pl.col("free") + pl.col("purchased"), int128(0)
    owed = (pl.col("part") + pl.col("due_part") - taken).clip(lower_bound=nothing)
    paid = rows_by_class.with_columns(draws).select(
        "class",
        "part",
        "due_part",
        *LOTS,
        uncovered=pl.when(~reported).then((pl.col("part") - taken).clip(lower_bound=nothing)).otherwise(nothing),
        amount_due=pl.when(~reported).then(pl.col("due_part")).otherwise(nothing),
        amount_reported=pl.when(reported).then(owed).otherwise(nothing),
        amount_free=pl.col("free_part"),
    )
    return pl.concat([rows, paid], how="horizontal")


def _with_booked(rows: pl.LazyFrame, booked: pl.LazyFrame) -> pl.LazyFrame:
    """What is booked on a row by its present user in the window's months, and what of it was imported."""
    of_row = booked.group_by(_OF_ROW).agg(
        *(pl.col(lot).sum().alias(f"booked_{lot}") for lot in LOTS),
        *(pl.col(lot).filter("imported").sum().alias(f"imported_{lot}") for lot in LOTS),
        pl.col("imported").any(),
    )
    amounts = [f"{kind}_{lot}" for kind in ("booked", "imported") for lot in LOTS]
    return rows.join(of_row.with_columns(CODED), on=_OF_ROW, how="left", maintain_order="left").with_columns(
        pl.col(amounts).fill_null(0), pl.col("imported").fill_null(value=False)
    )


def _less(rows_by_class: pl.LazyFrame, elsewhere: pl.LazyFrame | None) -> pl.LazyFrame:
    """Without what is drawn elsewhere, ``part`` is what is still to be paid here."""
    if elsewhere is None:
        return rows_by_class
    rest = (pl.col("part") - pl.col("elsewhere").fill_null(0)).clip(lower_bound=int128(0))
    return (
        rows_by_class.join(elsewhere, on=_OF_ROW, how="left", maintain_order="left")
        .with_columns(part=rest)
        .drop("elsewhere")
    )


def _known(accounts: pl.LazyFrame) -> pl.LazyFrame:
    return accounts.select(CODED, has_account=pl.lit(value=True))


def _kept(rows_by_class: pl.LazyFrame) -> pl.LazyFrame:
    """Draws that stand whatever the row costs now: what was invoiced besides them, or what another program drew, as far
    as it has not been given back since."""
    frozen = pl.col("reported") | pl.col("has_account").is_null()
    return rows_by_class.with_columns(
        pl.when(frozen)
        .then(pl.col(f"booked_{lot}"))
        .when(pl.col("class") == EARLY)
        .then(pl.min_horizontal(f"imported_{lot}", f"booked_{lot}"))
        .otherwise(int128(0))
        .alias(f"kept_{lot}")
        for lot in LOTS
    )


def _demand() -> pl.Expr:
    takes = (pl.col("class") == PREPAID) & ~pl.col("reported") & pl.col("has_account").is_not_null()
    return pl.when(takes).then(pl.col("part")).otherwise(int128(0))
