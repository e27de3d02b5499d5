"""Ownerless rows: rows of usage_daily without a user or a day, which are in no batch."""

from collections.abc import Collection
from typing import TYPE_CHECKING

from jobs.pipeline.run_totals import Totals
from jobs.postgres import rejects
from jobs.postgres.connections import Connection
from jobs.postgres.rejects import RejectChange
from jobs.postgres.run_scope import RunScope

if TYPE_CHECKING:
    from jobs.postgres.usage_writeback import UnreadRow


def find_ids(connection: Connection, scope: RunScope, totals: Totals) -> list[str]:
    """Returns the ids of ownerless rows.

    Without an index on date the query reads the whole table, so it runs only if detection has counted such rows.
    """
    if not totals.ownerless:
        return []
    return [str(row[0]) for row in connection.execute(scope.query.ownerless_query(scope.window.spans()))]


def find_rejects(connection: Connection, scope: RunScope, totals: Totals, ids: Collection[str]) -> list[RejectChange]:
    """Returns the changes of rollup.rejects for rows that are in no batch.

    These are the ownerless rows (``ids``), and rejected rows that have changed without a change of their fingerprint.
    """
    spans = scope.window.spans()
    rows = rejects.read_rejects(connection, scope.query, ids) + rejects.read_outdated(connection, scope.query, spans)
    changes = rejects.find_ownerless_changes(connection, scope.settings, rows, spans)
    # A row stays rejected as long as its user is not recomputed.
    return [change for change in changes if change.user not in totals.not_written]


def find_undated(connection: Connection, scope: RunScope, ids: Collection[str], *, write: bool) -> "list[UnreadRow]":
    """Returns rows without a day whose credits_deducted was drawn for another user, and with ``write`` corrects them.

    A backfill leaves them to the next run, because they are in none of its months.
    """
    if not ids or scope.kind == "backfill":
        return []
    from jobs.postgres import usage_writeback

    undated = usage_writeback.find_undated_rows(connection, scope, ids, lock=write)
    if write:
        usage_writeback.write_unread_rows(connection, scope, undated)
    return undated
