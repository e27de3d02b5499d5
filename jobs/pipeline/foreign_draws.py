"""Credits on rows that the ledger does not explain: who is set aside for them, and what ``--adopt`` takes over.

A credits_deducted that no entry explains is foreign. One that shows nothing although the ledger has draws of its user
was either reset by a collector, and is filled again, or a copy of some tables was restored. The user's transactions
tell: they agree with the ledger, or they do not (DESIGN section 5, foreign hands). So they do where a row is gone: what
was drawn on it is given back only to whom it was taken from.
"""

from collections.abc import Iterator, Mapping
from decimal import Decimal
from shlex import quote
from typing import TYPE_CHECKING, Any, NamedTuple
from uuid import UUID

import polars as pl

from jobs.domain.fixed_point import unscaled
from jobs.domain.fixed_point_columns import int128
from jobs.domain.schemas import DRAWS
from jobs.postgres import accounts, batch_inputs, ledger
from jobs.postgres.connections import Connection
from jobs.postgres.invariants import shown
from jobs.postgres.run_scope import RunScope

if TYPE_CHECKING:
    from jobs.pipeline.batch_input import BatchInput

ODD = pl.col("foreign") | pl.col("empty")
REMEDIES = (
    "If the rows are right, run again with `--adopt {user}`: it takes the difference into the ledger, and from no "
    "account. If the ledger is right, run again with `--trust-ledger {user}`: it writes that to the rows"
)
GONE = (
    "If the account has it back, or never paid it, run again with `--adopt {user}`: it takes it out of the ledger, and "
    "gives nothing back. If the account paid it, run again with `--trust-ledger {user}`: it gives it back"
)
CLOSED = (
    "It is a row of a closed month, and shows more than is owed for it, or less than it had when the month closed: if "
    "the rows are right, `backfill` the month with `--adopt {user}`. If the ledger is right, run again with "
    "`--trust-ledger {user}`: it writes that to the rows"
)
BLIND = (
    "A copy was restored, or transactions were removed. Restore the application's tables and rollup as they were at "
    "the same moment; or, if the ledger is right, run again with `--trust-ledger {user}`"
)


class Unexplained(NamedTuple):
    """Why a user is set aside, and whether ``--adopt`` can take over what his rows show."""

    reason: str
    is_adoptable: bool = True


def gone_draws(draws: pl.DataFrame, usage: pl.DataFrame) -> pl.DataFrame:
    """By row and user what the window's ``draws`` come to on rows that are not in ``usage``, or another user's
    (schemas.DRAWS): a run gives it back."""
    sums = draws.group_by("id", "user_id").agg(
        pl.col("date").max(), pl.col("imported").any(), pl.col("free").sum(), pl.col("purchased").sum()
    )
    drawn = sums.filter((pl.col("free") != 0) | (pl.col("purchased") != 0))
    here = usage.select("id", pl.col("user_id").cast(pl.String))
    gone = drawn.join(here, on=["id", "user_id"], how="anti")
    return gone.select(pl.col(name).cast(kind) for name, kind in DRAWS.items())


def unexplained(connection: Connection, scope: RunScope, read: "BatchInput") -> dict[str, Unexplained]:
    """Why users are set aside, whose rows show credits that nothing explains, or none although the ledger has some; or
    whose rows are gone, and what was drawn on them was not paid. Where there is no credits_deducted, whose transactions
    come to something else than the ledger."""
    odd = read.odd.sort("user_id", "date", "id")
    by_user = {str(rows["user_id"][0]): rows for rows in odd.partition_by("user_id", maintain_order=True)}
    losing = _with_accounts(connection, scope, read.gone).sort("user_id", "date", "id")
    credits, beyond = scope.query.read.credits, _beyond_debts(read)
    blind = read.paying if credits.account is not None and not credits.deducted else set()
    asked = {user for user, rows in by_user.items() if not rows["foreign"].any()} | {*losing["user_id"]} | blind
    compared = ledger.compare_transactions(connection, scope.settings, asked) if asked and credits.transactions else {}
    found = {}
    for user, rows in by_user.items():
        ours, theirs = compared.get(user, (None, None))
        if rows["foreign"].any():
            found[user] = _of_rows(user, rows.filter("foreign"), "", beyond)
        elif credits.transactions and (theirs is None or ours != theirs):
            found[user] = _of_rows(user, rows, _disagreement(ours, theirs), beyond)
    disagreeing = {user: both for user, both in compared.items() if (both[0] or 0) != (both[1] or 0)}
    for id_, user, day, *_ in losing.unique("user_id", keep="first").iter_rows():
        if user in disagreeing and user not in found:
            found[user] = Unexplained(
                f"row {UUID(int=id_)} of {day}: expected there, for rollup.credit_draws has draws on it; found it "
                f"gone, or another user's{_disagreement(*disagreeing[user])}. A copy was restored. "
                f"{GONE.format(user=quote(user))}"
            )
    for user in blind & disagreeing.keys() - found.keys():
        ours, theirs = disagreeing[user]
        found[user] = Unexplained(
            f"credit_transactions: expected our transactions of the user to come to {shown(ours or 0)}, as "
            f"rollup.credit_draws does; found {shown(theirs or 0)}. {BLIND.format(user=quote(user))}",
            is_adoptable=False,
        )
    return found


def _beyond_debts(read: "BatchInput") -> frozenset[str]:
    """Users of whom the row of a debt shows more than that and what the ledger says, or less than the latter without
    what is settled: it was drawn before its month closed, or computed again since."""
    more = pl.col("deducted").fill_null(0) - pl.col("drawn")
    odd = read.odd_debts.filter(ODD).select("id", "date")
    rows = read.payable.join(odd, on=["id", "date"], how="semi")
    return frozenset(rows.filter((more > pl.col("open")) | (more < 0 - pl.col("settled")))["user_id"])


def _with_accounts(connection: Connection, scope: RunScope, gone: pl.DataFrame) -> pl.DataFrame:
    """Of ``gone`` what an account would be given back."""
    if gone.is_empty():
        return gone
    users = gone["user_id"].unique().to_list()
    account_rows = accounts.read_accounts(connection, scope.settings, scope.query.read.credits, users)
    return gone.join(account_rows.select("user_id"), on="user_id", how="semi")


def _of_rows(user: str, rows: pl.DataFrame, more: str, beyond: frozenset[str]) -> Unexplained:
    row: dict[str, Any] = rows.row(0, named=True)
    found = "not a number" if row["deducted"] is None else shown(unscaled(row["deducted"]))
    others = f", and {rows.height - 1:,} more rows" if rows.height > 1 else ""
    remedies = (CLOSED if user in beyond else REMEDIES).format(user=quote(user))
    return Unexplained(
        f"credits_deducted of row {UUID(int=row['id'])} of {row['date']}{others}: expected "
        f"{shown(unscaled(row['drawn']))}, as rollup.credit_draws has it; found {found}{more}. Another program writes "
        f"there, or a copy was restored. {remedies}",
        is_adoptable=user not in beyond,
    )


def _disagreement(ours: Decimal | None, theirs: Decimal | None) -> str:
    if theirs is None:
        return ", and no transactions of the user that the ledger could be compared with"
    return f", and the user's transactions come to {shown(theirs)} where the ledger comes to {shown(ours or 0)}"


def adopted_draws(
    connection: Connection, scope: RunScope, read: "BatchInput", account_rows: pl.DataFrame
) -> pl.DataFrame:
    """What ``--adopt`` enters into the ledger (schemas.DRAWS), so that it says what the rows of these users show.

    In row order free until the account's free credits used are exhausted, then purchased. What a row shows less than
    was drawn on it is taken off its purchased draws first, which were drawn last.
    """
    users = sorted(scope.adopting.intersection(read.unexplained))
    if not users:
        return pl.DataFrame(schema=DRAWS)
    adopting = read.odd.filter(pl.col("user_id").cast(pl.String).is_in(users))
    drawn = ledger.read_drawn_by_row(connection, batch_inputs.ledger_of(scope), users)
    free_used = pl.col("free_used") if scope.credit_rules.splits else pl.min_horizontal("granted", "used")
    left = dict(account_rows.select("user_id", free_used).iter_rows())
    for (user, _), (free, _) in drawn.items():
        left[user] = left.get(user, 0) - free
    return pl.DataFrame(list(_entries(adopting, drawn, left)), schema=DRAWS, orient="row")


def dropped_draws(scope: RunScope, read: "BatchInput") -> pl.DataFrame:
    """What ``--adopt`` takes out of the ledger (schemas.DRAWS): draws on rows that are gone."""
    mine = pl.col("user_id").is_in(sorted(scope.adopting.intersection(read.unexplained)))
    nothing = int128(0)
    return read.gone.filter(mine).with_columns(
        imported=pl.lit(value=True), free=nothing - pl.col("free"), purchased=nothing - pl.col("purchased")
    )


def as_adopted(mismatched: pl.DataFrame, adopted: pl.DataFrame) -> pl.DataFrame:
    """``mismatched`` once the draws that were ``adopted`` are in the ledger: it says what those rows show."""
    if adopted.is_empty():
        return mismatched
    more = adopted.select("id", more=pl.col("free") + pl.col("purchased"))
    added = pl.col("more").is_not_null()
    return (
        mismatched.join(more, on="id", how="left")
        .with_columns(
            drawn=pl.col("drawn") + pl.col("more").fill_null(0),
            foreign=pl.col("foreign") & ~added,
            empty=pl.col("empty") & ~added,
        )
        .drop("more")
    )


def _entries(
    rows: pl.DataFrame, drawn: Mapping[tuple[str, int], tuple[int, int]], left: dict[str, int]
) -> Iterator[Any]:
    """Entries that make the ledger (``drawn``: free and purchased by user and row) say what ``rows`` show. ``left``: by
    user the free credits used that the ledger does not have."""
    found = [
        (str(user), id_, day, (shows or 0) - sum(drawn.get((user, id_), (0, 0))))
        for user, id_, day, shows in rows.sort("date", "id").select("user_id", "id", "date", "deducted").iter_rows()
    ]
    # What goes out of the ledger makes room for what comes in.
    for user, id_, day, more in sorted(found, key=lambda entry: entry[3] > 0):
        if more > 0:
            free = max(0, min(more, left.get(user, 0)))
        else:
            free = more - max(more, -drawn.get((user, id_), (0, 0))[1])
        left[user] = left.get(user, 0) - free
        yield id_, user, day, True, free, more - free
