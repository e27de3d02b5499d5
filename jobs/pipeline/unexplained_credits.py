"""Unexplained credits: credits_deducted of rows that the ledger does not explain (manual: credits).

A credits_deducted that no ledger entry explains is foreign: another program wrote it. One that is 0 or null where the
ledger has draws, or shows draws that were reversed since, is empty. Then either a collector resets the column, and it
is written again as the ledger has it; or a copy of some tables was restored, and the user is set aside. The
transactions of the user decide: in the first case they agree with the ledger. They decide likewise where a row with
draws is deleted: only what an account paid is given back.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from decimal import Decimal
from shlex import quote
from typing import Any
from uuid import UUID

import polars as pl

from jobs.credits import debts
from jobs.credits.lots import used_credits
from jobs.domain.fixed_point import unscaled
from jobs.domain.fixed_point_columns import int128
from jobs.domain.rules import LOTS
from jobs.domain.schemas import DRAWN, DRAWS, IS_UNEXPLAINED
from jobs.domain.wording import format_value
from jobs.pipeline.batch_input import BatchInput, Unexplained
from jobs.postgres import accounts, user_state
from jobs.postgres.connections import Connection
from jobs.postgres.run_scope import RunScope

REMEDIES = (
    "If the rows are right, run again with `--adopt {user}`: it enters the difference in the ledger, and changes no "
    "account. If the ledger is right, run again with `--trust-ledger {user}`: it writes the ledger's amount to the rows"
)
VANISHED_REMEDIES = (
    "If the account was repaid, or never paid, run again with `--adopt {user}`: it removes the draws from the ledger, "
    "and changes no account. If the account paid, run again with `--trust-ledger {user}`: it gives the credit back"
)
CLOSED_REMEDIES = (
    "The row is in a closed month, and shows more than is owed for it, or less than it had when the month closed. If "
    "the rows are right, `backfill` the month with `--adopt {user}`. If the ledger is right, run again with "
    "`--trust-ledger {user}`: it writes the ledger's amount to the rows"
)
RESTORE_REMEDIES = (
    "A copy was restored, or transactions were removed. Restore the application's tables and rollup to the same "
    "moment; or, if the ledger is right, run again with `--trust-ledger {user}`"
)


def find_unexplained_users(connection: Connection, scope: RunScope, inputs: BatchInput) -> dict[str, Unexplained]:
    """Returns why credits of users are unexplained, by user.

    - A row has credits_deducted that no ledger entry explains.
    - A row has none although the ledger has draws, and the user's transactions do not agree with the ledger, or there
      are none to compare.
    - A row with draws is deleted, and the user's transactions do not agree with the ledger.
    - There is no column credits_deducted, and the user's transactions do not agree with the ledger.
    """
    unexplained = inputs.unexplained_rows.sort("user_id", "date", "id")
    by_user = {
        str(of_user["user_id"][0]): of_user for of_user in unexplained.partition_by("user_id", maintain_order=True)
    }
    vanished = _with_accounts(connection, scope, inputs.vanished_draws).sort("user_id", "date", "id")
    credits, not_adoptable = scope.credits, _find_not_adoptable(inputs)
    empty = {user: rows for user, rows in by_user.items() if not rows["foreign"].any()}
    without_column = inputs.account_users if credits.has_accounts and not credits.has_deducted else set()
    totals = _compare_totals(connection, scope, {*empty, *vanished["user_id"], *without_column})
    differing = {user: pair for user, pair in totals.items() if (pair[0] or 0) != (pair[1] or 0)}
    # A later assignment replaces an earlier reason.
    reasons = {user: _describe_transactions(user, *differing[user]) for user in without_column & differing.keys()}
    for row in vanished.unique("user_id", keep="first").iter_rows(named=True):
        if (user := row["user_id"]) in differing:
            reasons[user] = _describe_vanished(row, *differing[user])
    for user, rows in empty.items():
        in_ledger, in_transactions = totals.get(user, (None, None))
        if in_transactions is None or in_ledger != in_transactions:
            reasons[user] = _describe_rows(user, rows, _describe_totals(in_ledger, in_transactions), not_adoptable)
    for user in by_user.keys() - empty.keys():
        reasons[user] = _describe_rows(user, by_user[user].filter("foreign"), "", not_adoptable)
    return reasons


def _compare_totals(
    connection: Connection, scope: RunScope, users: set[str]
) -> Mapping[str, tuple[Decimal | None, Decimal | None]]:
    """Returns the sums of ledger and transactions by user; nothing without transactions to compare."""
    if not users or not scope.credits.has_transactions:
        return {}
    return user_state.compare_transactions(connection, scope.settings, users)


def _find_not_adoptable(inputs: BatchInput) -> frozenset[str]:
    """Returns users whose unexplained row of a debt differs from the ledger by more than the debt.

    It shows more than the drawn amount plus the open debt, or less than the drawn amount minus what was settled. So the
    difference arose before the month closed, or the row was computed again since.
    """
    if inputs.mismatched_debts.is_empty():
        return frozenset()
    difference = pl.col("deducted").fill_null(0) - pl.col("drawn")
    unexplained = inputs.mismatched_debts.filter(IS_UNEXPLAINED).select("id", "date")
    rows = inputs.payable.join(unexplained, on=["id", "date"], how="semi")
    is_beyond = (difference > pl.col("open")) | (difference < 0 - pl.col("settled"))
    return frozenset(rows.filter(is_beyond)["user_id"])


def _with_accounts(connection: Connection, scope: RunScope, draws: pl.DataFrame) -> pl.DataFrame:
    """Returns ``draws`` of users with an account: a reversal would give them credit back."""
    if draws.is_empty():
        return draws
    users = draws["user_id"].unique().to_list()
    account_rows = accounts.read_accounts(connection, scope.settings, scope.credits, users)
    return draws.join(account_rows.select("user_id"), on="user_id", how="semi")


def _describe_rows(user: str, rows: pl.DataFrame, totals: str, not_adoptable: frozenset[str]) -> Unexplained:
    row: dict[str, Any] = rows.row(0, named=True)
    found = "not a number" if row["deducted"] is None else format_value(unscaled(row["deducted"]))
    others = f", and {rows.height - 1:,} more rows" if rows.height > 1 else ""
    remedies = (CLOSED_REMEDIES if user in not_adoptable else REMEDIES).format(user=quote(user))
    return Unexplained(
        f"credits_deducted of row {UUID(int=row['id'])} of {row['date']}{others}: expected "
        f"{format_value(unscaled(row['drawn']))}, as rollup.credit_draws has it; found {found}{totals}. Another "
        f"program writes there, or a copy was restored. {remedies}",
        is_adoptable=user not in not_adoptable,
    )


def _describe_vanished(
    row: Mapping[str, Any], in_ledger: Decimal | None, in_transactions: Decimal | None
) -> Unexplained:
    return Unexplained(
        f"row {UUID(int=row['id'])} of {row['date']}: expected to exist, for rollup.credit_draws has draws on it; "
        f"found it gone, or another user's{_describe_totals(in_ledger, in_transactions)}. A copy was restored. "
        f"{VANISHED_REMEDIES.format(user=quote(row['user_id']))}"
    )


def _describe_transactions(user: str, in_ledger: Decimal | None, in_transactions: Decimal | None) -> Unexplained:
    remedies = RESTORE_REMEDIES.format(user=quote(user))
    return Unexplained(
        f"credit_transactions: expected our transactions of the user to come to {format_value(in_ledger or 0)}, as "
        f"rollup.credit_draws does; found {format_value(in_transactions or 0)}. {remedies}",
        is_adoptable=False,
    )


def _describe_totals(in_ledger: Decimal | None, in_transactions: Decimal | None) -> str:
    if in_transactions is None:
        return ", and no transactions of the user that the ledger could be compared with"
    return (
        f", and the user's transactions come to {format_value(in_transactions)} where the ledger comes to "
        f"{format_value(in_ledger or 0)}"
    )


def adopt(
    connection: Connection, scope: RunScope, inputs: BatchInput, account_rows: pl.DataFrame
) -> tuple[BatchInput, pl.DataFrame, pl.DataFrame]:
    """Returns the input as it is once ``--adopt`` has made the ledger agree with the rows of some users.

    Also returns the draws that it enters (schemas.DRAWS), and the debts that these settle (credits.debts).
    """
    users = sorted(scope.adopted_users.intersection(inputs.unexplained))
    if not users:
        return inputs, pl.DataFrame(schema=DRAWS), debts.with_nothing_paid(inputs.payable.clear())
    adopted_draws = _make_adopted_draws(connection, scope, inputs, account_rows, users)
    dropped = _make_dropped_draws(inputs, users)
    payable, settled = debts.adopt_debts(inputs.payable, adopted_draws)
    in_window = adopted_draws.join(settled, on=["id", "date"], how="anti")
    explained = replace(
        inputs,
        draws=pl.concat([inputs.draws, in_window, dropped]),
        mismatched=_explain_adopted(inputs.mismatched, adopted_draws),
        mismatched_debts=_explain_adopted(inputs.mismatched_debts, adopted_draws),
        payable=payable,
    )
    return explained, pl.concat([adopted_draws, dropped]), settled


def _make_adopted_draws(
    connection: Connection, scope: RunScope, inputs: BatchInput, account_rows: pl.DataFrame, users: Sequence[str]
) -> pl.DataFrame:
    """Returns the entries by which ``--adopt`` makes the ledger agree with the rows of ``users`` (schemas.DRAWS).

    In row order, they are of the first lot until the account's used credits of it are exhausted, then of the second.
    Where a row shows less than the ledger, its draws of the second lot are reduced first.
    """
    rows = inputs.unexplained_rows.filter(pl.col("user_id").cast(pl.String).is_in(users))
    drawn = user_state.read_drawn_by_row(connection, user_state.ledger_table(scope), users)
    used = used_credits(scope.credit_rules, dict.fromkeys(LOTS, int128(0)))
    left = dict(account_rows.select("user_id", used[LOTS[0]]).iter_rows())
    for (user, _id), (of_first, _of_second) in drawn.items():
        left[user] = left.get(user, 0) - of_first
    schema = {name: DRAWS[name] for name in ("id", "user_id", "date", "imported", *LOTS)}
    return pl.DataFrame(list(_make_entries(rows, drawn, left)), schema=schema, orient="row").select(list(DRAWS))


def _make_dropped_draws(inputs: BatchInput, users: Sequence[str]) -> pl.DataFrame:
    """Returns the entries by which ``--adopt`` removes draws of ``users`` on rows that are deleted (schemas.DRAWS)."""
    is_adopting = pl.col("user_id").is_in(users)
    nothing = int128(0)
    return inputs.vanished_draws.filter(is_adopting).with_columns(
        imported=pl.lit(value=True), free=nothing - pl.col("free"), purchased=nothing - pl.col("purchased")
    )


def _explain_adopted(mismatched: pl.DataFrame, adopted: pl.DataFrame) -> pl.DataFrame:
    """Returns ``mismatched`` as it is after the ``adopted`` draws: these explain the rows (schemas.MISMATCHED)."""
    if adopted.is_empty():
        return mismatched
    more = adopted.select("id", more=DRAWN)
    is_adopted = pl.col("more").is_not_null()
    return (
        mismatched.join(more, on="id", how="left")
        .with_columns(
            drawn=pl.col("drawn") + pl.col("more").fill_null(0),
            foreign=pl.col("foreign") & ~is_adopted,
            empty=pl.col("empty") & ~is_adopted,
        )
        .drop("more")
    )


def _make_entries(
    rows: pl.DataFrame, drawn: Mapping[tuple[str, int], tuple[int, int]], left: dict[str, int]
) -> Iterator[Any]:
    """Yields ledger entries that make the ledger agree with ``rows``: id, user_id, date, imported, LOTS.

    - ``drawn``: draws in the ledger by user and row, in the order of LOTS;
    - ``left``: by user the used credits of the first lot that the ledger does not have; changed in place.
    """
    differences = [
        (str(user), id_, day, (deducted or 0) - sum(drawn.get((user, id_), (0, 0))))
        for user, id_, day, deducted in rows.sort("date", "id").select("user_id", "id", "date", "deducted").iter_rows()
    ]
    # Reductions come first: the credits that they release are used by the other entries.
    for user, id_, day, amount in sorted(differences, key=lambda difference: difference[3] > 0):
        if amount > 0:
            of_first = max(0, min(amount, left.get(user, 0)))
        else:
            _of_first, of_second = drawn.get((user, id_), (0, 0))
            of_first = amount - max(amount, -of_second)
        left[user] = left.get(user, 0) - of_first
        yield id_, user, day, True, of_first, amount - of_first
