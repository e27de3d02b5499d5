"""What the end of a run writes: cluster tables, rejects that are in no batch, months. Computed, then written.

A dry run computes it only, with what its batches would have written (``Totals.deltas``). Imports polars only if days
were touched.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING, Any

from jobs.domain.billing_periods import first_of
from jobs.domain.tables import CLUSTER_TABLES
from jobs.pipeline.run_totals import Totals
from jobs.postgres import cluster_rollups, rejects, run_log
from jobs.postgres.billing_mode_history import Entry
from jobs.postgres.connections import Connection
from jobs.postgres.month_figures import MonthFigures, read_month_figures
from jobs.postgres.rejects import RejectChange
from jobs.postgres.run_scope import RunScope

if TYPE_CHECKING:
    import polars as pl

    from jobs.pipeline.table_diff import TableDiff
    from jobs.postgres.usage_writeback import UnreadRow


@dataclass(frozen=True, slots=True)
class EndChanges:
    """The changes at the end of a run.

    - ``days``: the days of which the cluster tables are regrouped; ``clusters``: what differs in these tables;
    - ``waiting``: months whose cluster tables wait until all users are in user_daily;
    - ``rejects``: changes of rollup.rejects for rows that are in no batch; ``rows_rejected``: how many rows of the
      window are rejected afterwards;
    - ``undated``: rows without a day that show the draws of another user;
    - ``month_records``: target rows of rollup.months, with ``closes``; ``changed_months``: those that change, as month,
      stored and new values.
    """

    days: Sequence[date]
    clusters: "Sequence[TableDiff]"
    waiting: frozenset[date]
    rejects: Sequence[RejectChange]
    rows_rejected: int
    undated: "Sequence[UnreadRow]"
    month_records: Sequence[Mapping[str, Any]]
    changed_months: Sequence[tuple[date, str, str]]

    @property
    def counts(self) -> dict[str, int]:
        """How many rows change, by table."""
        return {
            **dict.fromkeys(CLUSTER_TABLES, 0),
            **{diff.table.name: diff.row_count for diff in self.clusters},
            "usage_daily": len(self.undated),
            "rejects": len(self.rejects),
            "months": len(self.changed_months),
        }

    def list_changes(self, entries: Sequence[Entry]) -> "pl.DataFrame":
        """Returns every row that changes (rollups.changes.CHANGES), with new ``entries`` of rollup.billing_modes."""
        import polars as pl

        from jobs.pipeline import row_changes

        clusters = [diff.list_changes() for diff in self.clusters]
        lists = [row_changes.list_billing_modes(entries), row_changes.list_rejects(self.rejects)]
        return pl.concat([*clusters, *lists, row_changes.list_months(self.changed_months)])

    def write(self, connection: Connection, scope: RunScope, run_id: int) -> None:
        """Writes the changes, in the caller's transaction."""
        for diff in self.clusters:
            diff.write(connection, scope, run_id)
        if self.days:
            cluster_rollups.untouch_days(connection, scope, self.days)
        rejects.write_rejects(connection, scope.settings, self.rejects)
        if self.undated:
            from jobs.postgres import usage_writeback

            usage_writeback.write_unread_rows(connection, scope, self.undated)
        run_log.update_months(connection, scope.settings, self.month_records, run_id)


def compute_end(
    connection: Connection,
    scope: RunScope,
    totals: Totals,
    figures_by_month: Mapping[date, MonthFigures],
    closing_months: frozenset[date],
    *,
    full: bool,
) -> EndChanges:
    """Computes what the end of a run writes. Call inside a transaction.

    - ``totals``: of the batches;
    - ``figures_by_month``: of each month of the window, after the batches;
    - ``closing_months``: the months to close; ``full``: whether the cluster tables of all months of the window are
      regrouped.
    """
    days, waiting = _find_days(connection, scope, totals, full=full)
    ids = _find_ownerless_rows(connection, scope, totals)
    changed = _find_reject_changes(connection, scope, totals, ids)
    count = rejects.count_rejects(connection, scope.settings, scope.window.spans())
    if totals.is_dry_run:
        count += totals.rejects_added
    records = _make_records(connection, scope, totals, figures_by_month, closing_months, days)
    return EndChanges(
        days=days,
        clusters=_find_cluster_differences(connection, scope, days, totals),
        waiting=waiting,
        rejects=changed,
        rows_rejected=count + sum(map(rejects.count_change, changed)),
        undated=_find_undated_rows(connection, scope, ids, lock=not totals.is_dry_run),
        month_records=records,
        changed_months=run_log.find_month_changes(connection, scope.settings, records),
    )


def _find_days(
    connection: Connection, scope: RunScope, totals: Totals, *, full: bool
) -> tuple[list[date], frozenset[date]]:
    """Returns the days to regroup, and the months that wait because not all their users are in user_daily yet.

    Days are regrouped that batches have touched, and all days of months that had to be computed again.
    """
    stored = scope.month_records.fingerprint_definitions
    waiting = frozenset(month for month in _partly_computed(scope, totals) if stored.get(month) is None)
    regrouped_months = scope.window.months if full else scope.not_comparable
    days = {day for day in scope.window.days if first_of(day) in regrouped_months}
    days.update(cluster_rollups.days_to_regroup(connection, scope))
    if totals.deltas is not None:
        days |= totals.deltas.touched_days
    return sorted(day for day in days if first_of(day) not in waiting), waiting


def _partly_computed(scope: RunScope, totals: Totals) -> frozenset[date]:
    """Returns months that had to be computed again, of which not every user was written."""
    return scope.not_comparable if totals.not_written else frozenset()


def _find_cluster_differences(
    connection: Connection, scope: RunScope, days: Sequence[date], totals: Totals
) -> "Sequence[TableDiff]":
    if not days:
        return []
    from jobs.pipeline.cluster_tables import find_cluster_differences

    return find_cluster_differences(connection, scope, days, totals.deltas)


def _find_ownerless_rows(connection: Connection, scope: RunScope, totals: Totals) -> list[str]:
    """Returns the ids of rows of usage_daily without a user or a day, which are in no batch.

    Without an index on date the query reads the whole table, so it runs only if detection has counted such rows.
    """
    if not totals.ownerless:
        return []
    return rejects.find_ownerless_rows(connection, scope.settings, scope.window.spans())


def _find_reject_changes(
    connection: Connection, scope: RunScope, totals: Totals, ids: Sequence[str]
) -> list[RejectChange]:
    """Returns the changes of rollup.rejects for rows that are in no batch.

    These are the ownerless rows ``ids``, and rejected rows that have changed without a change of their fingerprint.
    """
    spans = scope.window.spans()
    rows = rejects.read_rejects(connection, scope.query, ids) + rejects.read_outdated(connection, scope.query, spans)
    changes = rejects.find_ownerless_changes(connection, scope.settings, rows, spans)
    # A row stays rejected as long as its user is not recomputed. In a dry run, the batches have not written theirs.
    written = totals.reject_ids if totals.is_dry_run else frozenset[str]()
    return [change for change in changes if change.user not in totals.not_written and change.id not in written]


def _find_undated_rows(
    connection: Connection, scope: RunScope, ids: Sequence[str], *, lock: bool
) -> "Sequence[UnreadRow]":
    """Returns rows without a day that show the draws of another user.

    A backfill leaves them to the next run, because they are in none of its months.
    """
    if not ids or scope.kind == "backfill":
        return []
    from jobs.postgres import usage_writeback

    return usage_writeback.find_undated_rows(connection, scope, ids, lock=lock)


def _make_records(
    connection: Connection,
    scope: RunScope,
    totals: Totals,
    figures_by_month: Mapping[date, MonthFigures],
    closing_months: frozenset[date],
    days: Sequence[date],
) -> list[dict[str, Any]]:
    """Returns the target rows of rollup.months, and whether the run ``closes`` each month.

    Months of ``days`` that are not in the window are among them: an unfinished backfill has changed them.
    """
    partly = _partly_computed(scope, totals)
    others = sorted({first_of(day) for day in days} - set(scope.window.months))
    other_figures = read_month_figures(connection, scope, others)[0] if others else {}
    return [
        _make_record(scope, month, figures, closes=month in closing_months, is_complete=month not in {*partly, *others})
        for month, figures in {**figures_by_month, **other_figures}.items()
    ]


def _make_record(
    scope: RunScope, month: date, figures: MonthFigures, *, closes: bool, is_complete: bool
) -> dict[str, Any]:
    """Returns the target row of ``month``.

    ``is_complete``: whether every user of the month was computed. If not, rates_hash and fingerprint stay as they are
    stored, so that the next run computes the others.
    """
    stored = scope.month_records
    return {
        "month": month,
        "row_count": figures.row_count,
        "usage_hash": figures.usage_hash,
        "rates_hash": scope.month_rates(month) if is_complete else stored.rates.get(month),
        "total_cost": figures.total_cost,
        "fingerprint": scope.fingerprint_definitions[month].text
        if is_complete
        else stored.fingerprint_definitions.get(month),
        "closes": closes,
        "currency": scope.currencies.get(month) or stored.currencies.get(month),
    }
