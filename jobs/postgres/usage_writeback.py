"""Locks rows of usage_daily, and writes total_cost (rated months) and credits_deducted to them."""

from collections.abc import Collection
from contextlib import nullcontext
from dataclasses import dataclass
from decimal import Decimal
from uuid import UUID

import polars as pl
from psycopg import sql

from jobs.domain.errors import RefusedError, UsageJobsError
from jobs.domain.schemas import DRAWN
from jobs.postgres import accounts, fingerprints
from jobs.postgres.connections import Connection, prefer_indexes
from jobs.postgres.errors import name_refusals
from jobs.postgres.run_scope import RunScope
from jobs.postgres.sql_loader import compose, in_spans, text_array
from jobs.postgres.table_io import stage_rows, to_server

STAGED = ["id", "user_id", "date", "month", "written_hash", "new_total_cost", "new_credits_deducted"]
"""The columns of usage_jobs_rows, the temporary table of rows to write: total_cost where runs write it,
credits_deducted where it differs, and the present written_hash."""
HASH_CHANGES = {"user_id": pl.String, "month": pl.Date, "rows": pl.Int64, "_hash_change": pl.Int64}
"""By user and month: how many of the rows to write exist, and what writing them changes in written_hash (XOR)."""


class ConcurrentChangeError(UsageJobsError):
    """Rows or draws of ``users`` have changed since they were read: the batch is rolled back."""

    exit_code = 5

    def __init__(self, users: Collection[str]) -> None:
        some = ", ".join(sorted(users)[:3])
        super().__init__(
            f"usage_daily (total_cost, credits_deducted) of {len(users)} users ({some}) could not be written: expected "
            "each UPDATE to find the row that was just read and locked; it did not. Look for a row-level policy "
            "without UPDATE for this role, or a trigger that discards updates; nothing of these users was written"
        )
        self.users = frozenset(users)


@dataclass(frozen=True, slots=True)
class UnreadRow:
    """A row of usage_daily that no batch reads, because it has no user now or no day of the window:
    credits_deducted before (``old``) and after (``new``), and the ``former_users``, whose draws on it are reversed."""

    id: UUID
    user: str | None
    old: Decimal
    new: Decimal
    former_users: frozenset[str] = frozenset()


def lock_rows(
    connection: Connection, scope: RunScope, usage_updates: pl.DataFrame, *, is_locked: bool
) -> tuple[pl.DataFrame, frozenset[str]]:
    """Stages and locks the rows to write, ``usage_updates`` (pipeline.usage_updates).

    Returns HASH_CHANGES, and the users with a row that could not be locked.

    ``is_locked``: the rows are of one user, whose rows are locked already. Then it raises
    psycopg.errors.LockNotAvailable where another transaction has locked a row, and RefusedError where a row cannot be
    locked without such a lock.
    """
    if usage_updates.is_empty():
        return pl.DataFrame(schema=HASH_CHANGES), frozenset()
    stage = stage_rows(connection, "rows", usage_updates.select(STAGED))
    locking = sql.SQL("FOR NO KEY UPDATE OF u NOWAIT" if is_locked else "FOR NO KEY UPDATE OF u SKIP LOCKED").format()
    with _prefer_indexes(connection, scope):
        found = connection.execute(_hash_changes_query(scope, stage, locking)).fetchall()
    locked = pl.DataFrame(found, schema=HASH_CHANGES, orient="row")
    key = [pl.col("user_id").cast(pl.String), "month"]
    staged = usage_updates.group_by(key).agg(pl.len().cast(pl.Int64).alias("rows"))
    missing = staged.join(locked, on=["user_id", "month", "rows"], how="anti")
    if is_locked:
        accounts.require_rows_locked("usage_daily", usage_updates.height, int(locked["rows"].sum()))
    return locked, frozenset(missing["user_id"])


def compute_hash_changes(connection: Connection, scope: RunScope, usage_updates: pl.DataFrame) -> pl.DataFrame:
    """Returns the changes that writing ``usage_updates`` would make (HASH_CHANGES); stages and locks nothing."""
    if usage_updates.is_empty():
        return pl.DataFrame(schema=HASH_CHANGES)
    values = to_server(usage_updates.select(STAGED)).to_dict(as_series=False)
    unstaged = sql.SQL("({})").format(compose("writeback.unstaged_rows"))
    with _prefer_indexes(connection, scope):
        found = connection.execute(_hash_changes_query(scope, unstaged, sql.SQL("").format()), values).fetchall()
    return pl.DataFrame(found, schema=HASH_CHANGES, orient="row")


def _hash_changes_query(scope: RunScope, rows: sql.Composable, locking: sql.Composable) -> sql.Composed:
    cost = credits = sql.SQL("NULL::numeric").format()
    if scope.rated_months:
        written = sql.SQL("CASE WHEN s.month = ANY({}) THEN coalesce(s.new_total_cost, u.total_cost::numeric) END")
        cost = written.format(sorted(scope.rated_months))
    if scope.credits.writes_deducted:
        credits = sql.SQL("coalesce(s.new_credits_deducted, u.credits_deducted::numeric)").format()
    new_hash = fingerprints.written_hash(cost, credits)
    return compose("writeback.hash_changes", scope.settings, rows=rows, new_hash=new_hash, locking=locking)


def unstage_users(connection: Connection, users: Collection[str]) -> None:
    """Removes the staged rows of ``users``."""
    connection.execute("DELETE FROM usage_jobs_rows WHERE user_id = ANY(%s)", [list(users)])


def lock_users(connection: Connection, scope: RunScope, users: Collection[str]) -> None:
    """Locks all rows of ``users`` in the window. Raises psycopg.errors.LockNotAvailable at once where one is locked."""
    days = in_spans("date", scope.window.spans())
    connection.execute(compose("writeback.lock_users", scope.settings, users=text_array(users), days=days))


def write_rows(connection: Connection, scope: RunScope, usage_updates: pl.DataFrame) -> None:
    """Writes the staged and locked ``usage_updates``. Raises ConcurrentChangeError where a row no longer exists."""
    assignments: list[sql.Composable] = []
    # Composed: a column that no row needs is not named, because the role may lack the privilege.
    if usage_updates["new_total_cost"].count():
        assignments.append(sql.SQL("total_cost = coalesce(s.new_total_cost, u.total_cost)"))
    if usage_updates["new_credits_deducted"].count():
        assignments.append(
            sql.SQL("credits_deducted = coalesce(trim_scale(s.new_credits_deducted), u.credits_deducted)")
        )
    text = compose("writeback.write_rows", scope.settings, assignments=sql.SQL(", ").join(assignments))
    with name_refusals("usage_daily", RefusedError), _prefer_indexes(connection, scope):
        written = connection.execute(text).rowcount
    if written != usage_updates.height:
        raise ConcurrentChangeError(frozenset(usage_updates["user_id"].cast(pl.String)))


def find_unread_rows(connection: Connection, scope: RunScope, reversed_: pl.DataFrame) -> list[UnreadRow]:
    """Returns the rows that no batch of a present user writes, among those whose draws are about to be reversed
    (``reversed_``: id, user_id, free, purchased)."""
    if reversed_.is_empty() or not scope.credits.writes_deducted:
        return []
    text = compose("writeback.unread_rows", scope.settings, days=in_spans("date", scope.window.spans()))
    values = to_server(reversed_.select("id", "user_id", drawn=DRAWN)).to_dict(as_series=False)
    found = connection.execute(text, values).fetchall()
    return [UnreadRow(id_, user, old, new, frozenset(users)) for id_, user, old, new, users in found]


def find_undated_rows(connection: Connection, scope: RunScope, ids: Collection[str], *, lock: bool) -> list[UnreadRow]:
    """Returns those of ``ids`` (rows without a day) whose credits_deducted is the sum of another user's draws; with
    ``lock`` only those that could be locked."""
    if not ids or not scope.credits.writes_deducted:
        return []
    text = compose(
        "writeback.undated_rows", scope.settings, locking=sql.SQL("FOR NO KEY UPDATE OF r SKIP LOCKED" if lock else "")
    )
    rows = [UnreadRow(*row) for row in connection.execute(text, {"ids": list(ids)})]
    return [row for row in rows if row.old != row.new]


def lock_unread_rows(connection: Connection, scope: RunScope, rows: Collection[UnreadRow]) -> frozenset[str]:
    """Locks ``rows``. Returns the users with reversed draws on a row that another transaction has locked."""
    if not rows:
        return frozenset()
    text = compose("writeback.lock_unread_rows", scope.settings)
    locked = {row[0] for row in connection.execute(text, {"ids": [row.id for row in rows]})}
    return frozenset(user for row in rows if row.id not in locked for user in row.former_users)


def write_unread_rows(connection: Connection, scope: RunScope, rows: Collection[UnreadRow]) -> None:
    """Writes credits_deducted of ``rows``, which must be locked."""
    if rows:
        text = compose("writeback.write_unread_rows", scope.settings)
        values = {"ids": [row.id for row in rows], "credits": [row.new for row in rows]}
        with name_refusals("usage_daily", RefusedError):
            connection.execute(text, values)


def _prefer_indexes(connection: Connection, scope: RunScope) -> "nullcontext[None]":
    return prefer_indexes(connection) if scope.source.rows_by_index else nullcontext()  # type: ignore[return-value]
