"""Credits on rows that the ledger does not explain: who is set aside for them, and what ``--adopt`` takes over.

A credits_deducted that no entry explains is foreign. One that shows nothing although the ledger has draws of its user
was either reset by a collector, and is filled again, or a copy of some tables was restored. The user's transactions
tell: they agree with the ledger, or they do not (DESIGN section 5, foreign hands).
"""

from collections.abc import Collection, Iterator, Mapping
from decimal import Decimal
from shlex import quote
from typing import Any
from uuid import UUID

import polars as pl

from jobs.model.frames import DRAWS
from jobs.model.scale import unscaled
from jobs.postgres import batch_inputs
from jobs.postgres.run_scope import RunScope
from jobs.store import ledger, transactions
from jobs.store.database import Connection
from jobs.store.invariants import shown

REMEDIES = (
    "If the rows are right, run again with `--adopt {user}`: it takes the difference into the ledger, and from no "
    "account. If the ledger is right, run again with `--trust-ledger {user}`: it writes that to the rows"
)


def unexplained(connection: Connection, scope: RunScope, mismatched: pl.DataFrame) -> dict[str, str]:
    """Why users are set aside, whose rows (``mismatched``: batch_inputs.MISMATCHED) show credits that nothing explains,
    or none although the ledger has some."""
    odd = mismatched.filter(pl.col("foreign") | pl.col("empty")).sort("user_id", "date", "id")
    by_user = {str(rows["user_id"][0]): rows for rows in odd.partition_by("user_id", maintain_order=True)}
    asked = [user for user, rows in by_user.items() if not rows["foreign"].any()]
    has_transactions = scope.query.read.credits.transactions
    compared = (
        transactions.compare_transactions(connection, scope.settings, asked) if asked and has_transactions else {}
    )
    reasons = {}
    for user, rows in by_user.items():
        ours, theirs = compared.get(user, (None, None))
        if rows["foreign"].any():
            reasons[user] = _reason(user, rows.filter("foreign"), "")
        elif has_transactions and (theirs is None or ours != theirs):
            reasons[user] = _reason(user, rows, _disagreement(ours, theirs))
    return reasons


def _reason(user: str, rows: pl.DataFrame, more: str) -> str:
    row: dict[str, Any] = rows.row(0, named=True)
    found = "not a number" if row["deducted"] is None else shown(unscaled(row["deducted"]))
    others = f", and {rows.height - 1:,} more rows" if rows.height > 1 else ""
    return (
        f"credits_deducted of row {UUID(int=row['id'])} of {row['date']}{others}: expected "
        f"{shown(unscaled(row['drawn']))}, as rollup.credit_draws has it; found {found}{more}. Another program writes "
        f"there, or a copy was restored. {REMEDIES.format(user=quote(user))}"
    )


def _disagreement(ours: Decimal | None, theirs: Decimal | None) -> str:
    if theirs is None:
        return ", and no transactions of the user that the ledger could be compared with"
    return f", and the user's transactions come to {shown(theirs)} where the ledger comes to {shown(ours or 0)}"


def adopted_draws(
    connection: Connection,
    scope: RunScope,
    mismatched: pl.DataFrame,
    unexplained: Collection[str],
    accounts: pl.DataFrame,
) -> pl.DataFrame:
    """What ``--adopt`` enters into the ledger (frames.DRAWS), so that it says what the rows of these users show.

    In row order free until the account's free credits used are exhausted, then purchased. What a row shows less than
    was drawn on it is taken off its purchased draws first, which were drawn last.
    """
    users = sorted(scope.adopting.intersection(unexplained))
    if not users:
        return pl.DataFrame(schema=DRAWS)
    adopting = mismatched.filter(pl.col("foreign") | pl.col("empty"), pl.col("user_id").cast(pl.String).is_in(users))
    drawn = ledger.drawn_by_row(connection, batch_inputs.ledger_of(scope), users)
    free_used = pl.col("free_used") if scope.credit_rules.splits else pl.min_horizontal("granted", "used")
    left = dict(accounts.select("user_id", free_used).iter_rows())
    for (user, _), (free, _) in drawn.items():
        left[user] = left.get(user, 0) - free
    return pl.DataFrame(list(_entries(adopting, drawn, left)), schema=DRAWS, orient="row")


def as_adopted(mismatched: pl.DataFrame, adopted: pl.DataFrame) -> pl.DataFrame:
    """``mismatched`` once the draws that were ``adopted`` are in the ledger: it says what those rows show."""
    more = adopted.select("id", more=pl.col("free") + pl.col("purchased"))
    added = pl.col("more").is_not_null()
    return (
        mismatched.join(more, on="id", how="left")
        .with_columns(
            drawn=pl.col("drawn") + pl.col("more").fill_null(0),
            imported=pl.col("imported") | added,
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
