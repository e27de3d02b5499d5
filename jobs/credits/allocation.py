"""Allocation: which credit pays for which row and debt, for all users of a batch at once (invariant 3).

Draw windows are allocated one after the other, each with the credit that those before it have left. Computes what each
row demands of the user's lots of credit (``lots``), what it gets, and what is left to be paid in another way.

The credit that a window may use is that of the account without the window's own earlier draws. These draws stay on
reported rows and on rows without an account, and adopted draws make a row prepaid. So the result is the same however
often, late or out of order it is computed. ``make_postings`` gives the difference from the ledger.
"""

from dataclasses import dataclass, replace

import polars as pl

from jobs.credits.debts import make_debt_postings, with_nothing_paid
from jobs.credits.lots import allocate_lots, lot_balances
from jobs.credits.payment_class import classify_payment
from jobs.domain.billing_periods import Window
from jobs.domain.fixed_point_columns import WIDE, int128
from jobs.domain.rules import LOTS, CreditRules
from jobs.domain.schemas import DRAWN, EARLY, IS_DRAWN, PREPAID, ROW_KEY, USER_AS_CATEGORY

POSTING_KEY = [*ROW_KEY, "month"]
DRAW_INPUTS = [*ROW_KEY, "date", "starts_month", "total_cost", "reported"]
"""The columns of a row that its draws depend on. Joins copy every column, so the others are left out."""


@dataclass(frozen=True, slots=True)
class CreditInput:
    """What decides, beside the accounts, which credit pays for which row of some users.

    - ``rows``: rated, in row order; ``billing_modes``: schemas.BILLING_MODE_ENTRIES;
    - ``draws``: what the ledger has of the window (schemas.DRAWS);
    - ``closed_month_draws``: rows that moved here from a closed month (id, user_id), and what is drawn on them there
      (``elsewhere``);
    - ``payable``: the open debts (schemas.PAYABLE).
    """

    rows: pl.DataFrame
    billing_modes: pl.DataFrame
    draws: pl.DataFrame
    closed_month_draws: pl.DataFrame
    payable: pl.DataFrame


@dataclass(frozen=True, slots=True)
class Allocated:
    """Which credit pays for what.

    - ``rows``: with their draws, and how each is paid; ``settled_debts``: the payable debts that are settled, with what
      is drawn on each;
    - ``postings``: what must be posted for both (``make_postings``); ``accounts``: as they are afterwards
      (schemas.ACCOUNTS).
    """

    rows: pl.DataFrame
    postings: pl.DataFrame
    settled_debts: pl.DataFrame
    accounts: pl.DataFrame


def allocate_windows(inputs: CreditInput, accounts: pl.DataFrame, window: Window, rules: CreditRules) -> Allocated:
    """Returns which credit pays for the rows and debts of ``inputs``; ``accounts``: schemas.ACCOUNTS."""
    settled = with_nothing_paid(inputs.payable.clear())
    allocated, postings = [], []
    for months in window.draw_windows:
        of_window = inputs
        if len(window.draw_windows) > 1:
            in_window = pl.col("date").dt.month_start().is_in(months)
            of_window = replace(inputs, rows=inputs.rows.filter(in_window), draws=inputs.draws.filter(in_window))
        if months == window.open and not inputs.payable.is_empty():
            # Debts are paid before the rows of open months, even before rows that have draws already.
            settled = settle_debts(inputs.payable, window_lots(of_window, accounts, rules), rules.unit)
            accounts = _apply_postings(accounts, settled, rules)
        allocated.append(allocate_window(of_window, accounts, rules))
        postings.append(make_postings(allocated[-1].lazy(), accounts.lazy(), of_window.draws.lazy()).collect())
        accounts = _apply_postings(accounts, postings[-1], rules)
    postings.append(make_debt_postings(settled, postings[0].columns))
    return Allocated(pl.concat(allocated), pl.concat(postings), settled, accounts)


def allocate_window(inputs: CreditInput, accounts: pl.DataFrame, rules: CreditRules) -> pl.DataFrame:
    """Returns the rows of ``inputs`` with their payment class and the draws that the ledger should have.

    Adds, in units of 10^-10: ``prepaid_part`` and ``due_part`` (``classify_payment``), ``free`` and ``purchased`` (the
    draws), ``uncovered``, ``amount_due``, ``amount_reported`` and ``amount_free``; and ``class``. ``accounts``:
    schemas.ACCOUNTS.
    """
    classified = _add_fixed_draws(_classify_rows(inputs, rules), accounts)
    lots = _lots_of(classified, accounts, inputs.draws, rules)
    by_row = classified.select("user_id").join(lots, on="user_id", how="left", maintain_order="left").drop("user_id")
    demanding = pl.concat([classified, by_row], how="horizontal").with_columns(_demand=_demand())
    drawn = allocate_lots(demanding, LOTS)
    draws = [(pl.col(f"{lot}_drawn") + pl.col(f"fixed_{lot}")).alias(lot) for lot in LOTS]
    return _add_payment(inputs.rows, drawn.with_columns(draws))


def _classify_rows(inputs: CreditInput, rules: CreditRules) -> pl.LazyFrame:
    """Returns DRAW_INPUTS columns of the rows with their payment class, their draws in the ledger, and their parts.

    ``prepaid_part`` is what the row costs, quantized, if it is prepaid (else 0), less what was drawn on it in a closed
    month; at least 0.
    """
    rows = _add_ledger(inputs.rows.lazy().select(DRAW_INPUTS), inputs.draws.lazy())
    classified = classify_payment(rows, inputs.billing_modes.lazy(), rules)
    if inputs.closed_month_draws.is_empty():
        return classified
    rest = (pl.col("prepaid_part") - pl.col("elsewhere").fill_null(0)).clip(lower_bound=int128(0))
    closed_month_draws = inputs.closed_month_draws.lazy()
    return (
        classified.join(closed_month_draws, on=ROW_KEY, how="left", maintain_order="left")
        .with_columns(prepaid_part=rest)
        .drop("elsewhere")
    )


def _add_ledger(rows: pl.LazyFrame, draws: pl.LazyFrame) -> pl.LazyFrame:
    """Adds what the ledger has on each row for its present user, and what of that was imported."""
    by_row = draws.group_by(ROW_KEY).agg(
        *(pl.col(lot).sum().alias(f"ledger_{lot}") for lot in LOTS),
        *(pl.col(lot).filter("imported").sum().alias(f"imported_{lot}") for lot in LOTS),
        pl.col("imported").any(),
    )
    amounts = [f"{kind}_{lot}" for kind in ("ledger", "imported") for lot in LOTS]
    return rows.join(by_row.with_columns(USER_AS_CATEGORY), on=ROW_KEY, how="left", maintain_order="left").with_columns(
        pl.col(amounts).fill_null(0), pl.col("imported").fill_null(value=False)
    )


def _add_fixed_draws(classified: pl.LazyFrame, accounts: pl.DataFrame) -> pl.LazyFrame:
    """Adds ``has_account``, and ``fixed_<lot>``: draws that stay as they are, whatever the row costs now.

    These are all draws of a row that was reported, or whose user has no account; and of a row before
    ``credits.start`` the imported draws, as far as they have not been given back.
    """
    known = accounts.lazy().select(USER_AS_CATEGORY, has_account=pl.lit(value=True))
    is_fixed = pl.col("reported") | pl.col("has_account").is_null()
    return classified.join(known, on="user_id", how="left", maintain_order="left").with_columns(
        pl.when(is_fixed)
        .then(pl.col(f"ledger_{lot}"))
        .when(pl.col("class") == EARLY)
        .then(pl.min_horizontal(f"imported_{lot}", f"ledger_{lot}"))
        .otherwise(int128(0))
        .alias(f"fixed_{lot}")
        for lot in LOTS
    )


def _lots_of(classified: pl.LazyFrame, accounts: pl.DataFrame, draws: pl.DataFrame, rules: CreditRules) -> pl.LazyFrame:
    fixed = classified.group_by("user_id").agg(pl.col(f"fixed_{lot}").sum() for lot in LOTS)
    return lot_balances(accounts.lazy(), draws.lazy(), fixed, rules)


def _demand() -> pl.Expr:
    """Returns what a row demands of the lots: its part if it is prepaid, not reported, and its user has an account."""
    demands = (pl.col("class") == PREPAID) & ~pl.col("reported") & pl.col("has_account").is_not_null()
    return pl.when(demands).then(pl.col("prepaid_part")).otherwise(int128(0))


def _add_payment(rows: pl.DataFrame, drawn: pl.LazyFrame) -> pl.DataFrame:
    """Adds to ``rows`` their draws, and what is left of each part: uncovered, due, or reported."""
    reported, nothing = pl.col("reported"), int128(0)
    owed = (pl.col("prepaid_part") + pl.col("due_part") - DRAWN).clip(lower_bound=nothing)
    paid = drawn.select(
        "class",
        "prepaid_part",
        "due_part",
        *LOTS,
        uncovered=pl.when(~reported)
        .then((pl.col("prepaid_part") - DRAWN).clip(lower_bound=nothing))
        .otherwise(nothing),
        amount_due=pl.when(~reported).then(pl.col("due_part")).otherwise(nothing),
        amount_reported=pl.when(reported).then(owed).otherwise(nothing),
        amount_free=pl.col("_free_part"),
    )
    return pl.concat([rows, paid.collect()], how="horizontal")


def make_postings(rows: pl.LazyFrame, accounts: pl.LazyFrame, draws: pl.LazyFrame) -> pl.LazyFrame:
    """Returns the differences between what ``rows`` should draw and have drawn, one row per POSTING_KEY that differs.

    Users without an account are left as they are. Columns: user_id, id, month, date; free and purchased (signed,
    units of 10^-10); ``is_first_draw``: whether the ledger has no draws on the row in this window; ``vanished``:
    whether there is no row of this user in this month any more.

    - ``rows``: with the draws that they should have, of one draw window;
    - ``accounts``: schemas.ACCOUNTS;
    - ``draws``: the draws that the ledger has in the window (schemas.DRAWS).
    """
    target = rows.select(pl.col("user_id").cast(pl.String), "id", "month", "date", *LOTS)
    entries = draws.join(accounts, on="user_id", how="semi")
    stored = entries.group_by(*ROW_KEY, pl.col("date").dt.month_start().alias("month")).agg(
        *(pl.col(lot).sum().alias(f"ledger_{lot}") for lot in LOTS), pl.col("date").max().alias("ledger_date")
    )
    concerned = pl.concat([target.filter(IS_DRAWN).select(POSTING_KEY), stored.select(POSTING_KEY)])
    present = target.join(concerned.unique(), on=POSTING_KEY, how="semi").with_columns(is_present=pl.lit(value=True))
    drawn_before = entries.filter(IS_DRAWN).select(ROW_KEY).unique().with_columns(was_drawn=pl.lit(value=True))
    return (
        present.join(accounts, on="user_id", how="semi")
        .join(stored, on=POSTING_KEY, how="full", coalesce=True)
        .select(
            *POSTING_KEY,
            pl.coalesce("date", "ledger_date").alias("date"),
            *((pl.col(lot).fill_null(0) - pl.col(f"ledger_{lot}").fill_null(0)).cast(WIDE).alias(lot) for lot in LOTS),
            pl.col("is_present").is_null().alias("vanished"),
        )
        .filter(IS_DRAWN)
        .join(drawn_before, on=ROW_KEY, how="left")
        .with_columns(pl.col("was_drawn").is_null().alias("is_first_draw"))
        .drop("was_drawn")
        .sort("user_id", "date", "id", "month")
    )


def _apply_postings(accounts: pl.DataFrame, postings: pl.DataFrame, rules: CreditRules) -> pl.DataFrame:
    """Returns the accounts as they are after ``postings`` (schemas.ACCOUNTS)."""
    if postings.is_empty():
        return accounts
    posted = postings.group_by("user_id").agg(pl.col("free", "purchased").sum())
    free, purchased = pl.col("free").fill_null(0), pl.col("purchased").fill_null(0)
    used = {"free_used": free, "total_used": purchased} if rules.counts_free_apart else {"total_used": free + purchased}
    return (
        accounts.join(posted, on="user_id", how="left")
        .with_columns(pl.col(name) + more for name, more in used.items())
        .select(accounts.columns)
    )


def settle_debts(debts: pl.DataFrame, lots: pl.LazyFrame, unit: int) -> pl.DataFrame:
    """Returns ``debts`` with ``free`` and ``purchased``: what ``lots`` pay of the ``open`` amount of each.

    Debts of which nothing is paid are left out.

    - ``debts``: those of one user are adjacent, the oldest first;
    - ``lots``: ``<lot>_left`` by user;
    - ``unit``: amounts paid are multiples of it (units of 10^-10).
    """
    demanded = debts.with_columns(USER_AS_CATEGORY, _demand=pl.col("open") // unit * unit)
    drawn = allocate_lots(demanded.lazy().join(lots, on="user_id", how="left", maintain_order="left"), LOTS)
    paid = drawn.with_columns(pl.col(f"{lot}_drawn").alias(lot) for lot in LOTS).filter(IS_DRAWN)
    return paid.select(*debts.columns, *LOTS).with_columns(pl.col("user_id").cast(pl.String)).collect()


def window_lots(inputs: CreditInput, accounts: pl.DataFrame, rules: CreditRules) -> pl.LazyFrame:
    """Returns by user the credit that a draw window may use, ``<lot>_left``: as if it had drawn nothing but its fixed
    draws."""
    return _lots_of(_add_fixed_draws(_classify_rows(inputs, rules), accounts), accounts, inputs.draws, rules)


def apply_ledger(inputs: CreditInput, rules: CreditRules) -> pl.DataFrame:
    """Returns what ``allocate_window`` returns, with the draws that the ledger has, whether these are right or not."""
    classified = _classify_rows(inputs, rules)
    return _add_payment(inputs.rows, classified.with_columns(pl.col(f"ledger_{lot}").alias(lot) for lot in LOTS))
