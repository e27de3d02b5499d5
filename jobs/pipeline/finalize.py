"""The end of a run, in one transaction: cluster tables of touched days, ownerless rejects, months, run log.

A month closes only if detection, run again in this transaction, finds no user who differs. If a run ends before this
transaction commits, its touched days stay marked, and the next run regroups them. Imports polars only if days were
touched.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import TYPE_CHECKING, Any, NamedTuple

from jobs.domain.billing_periods import first_of
from jobs.domain.errors import LockedError
from jobs.domain.work_list import WorkList
from jobs.pipeline import month_records, ownerless_rows
from jobs.pipeline.run_totals import Totals
from jobs.postgres import billing_mode_history, cluster_rollups, detection, price_overrides, rejects, run_log
from jobs.postgres.billing_mode_history import Entry
from jobs.postgres.connections import Connection, transaction
from jobs.postgres.credit_capabilities import find_unusable_payers
from jobs.postgres.month_figures import MonthFigures, read_month_figures
from jobs.postgres.rejects import RejectChange
from jobs.postgres.run_lock import check_ownership
from jobs.postgres.run_scope import RunScope

if TYPE_CHECKING:
    from jobs.pipeline.batch import BatchResult

END = "end"
NO_CLUSTERS = {"cluster_daily": 0, "cluster_monthly": 0}


class NotClosableError(Exception):
    """A month cannot be closed: ``work`` has to be done first, or the accounts of ``unusable`` users corrected."""

    def __init__(self, work: WorkList | None, unusable: Sequence[str] = ()) -> None:
        super().__init__(f"{work.users if work else 0} users differ")
        self.work = work
        self.unusable = unusable


@dataclass(frozen=True, slots=True)
class Finalized:
    """The result of the end of a run.

    - ``by_month``: figures of each month; ``whole``: of those whose amounts may be added up (RunScope.summed_months);
    - ``rejected``: how many rows of the window are rejected; ``changed``: rows by table;
    - ``closed``: the months that were closed;
    - ``waiting``: months whose cluster tables wait until all users are in user_daily;
    - ``recomputed``: the users that were recomputed in this transaction.
    """

    whole: MonthFigures
    by_month: dict[date, MonthFigures]
    rejected: int = 0
    changed: dict[str, int] = field(default_factory=dict)
    closed: frozenset[date] = frozenset()
    waiting: frozenset[date] = frozenset()
    recomputed: "BatchResult | None" = None


@dataclass(frozen=True, slots=True)
class Closing:
    """The ``months`` to close; ``recompute``: recomputes users in the closing transaction, or raises
    NotClosableError."""

    months: frozenset[date]
    recompute: Callable[[Connection, WorkList], "BatchResult"]


class _Regrouping(NamedTuple):
    """The ``days`` to regroup; ``incomplete``: months of which not every user was written although all had to be
    computed again; ``waiting``: those of them that are not in user_daily yet."""

    days: list[date]
    incomplete: frozenset[date]
    waiting: frozenset[date]


def finalize(
    connection: Connection, scope: RunScope, run_id: int, totals: Totals, closing: Closing, *, full: bool
) -> Finalized:
    """Writes what only the whole run knows, and marks the run done. ``full``: whether all cluster tables are rebuilt.

    Users who differ when detection runs again are recomputed here, and stay locked until the end. What others write
    after that belongs to the time after the close. Raises NotClosableError, with nothing written, if a month cannot be
    closed yet; PlanMismatchError if the changes are not the approved ones; LockedError if another run has taken over.
    """
    settings, window = scope.settings, scope.window
    with transaction(connection):
        if run_log.read_status(connection, settings, run_id) == "done":
            # The answer to an earlier COMMIT was lost, and this is another try.
            by_month, whole = read_month_figures(connection, scope, window.months)
            count = rejects.count_rejects(connection, settings, window.spans())
            return Finalized(whole, by_month, count, {}, closing.months)
        check_ownership(connection, settings, run_id)
        # Before detection runs again, because detection decides what closes.
        entered, entries = _append_billing_modes(connection, scope, run_id, totals)
        recomputed = _recompute_differing(connection, scope, totals, closing) if closing.months else None
        written = _count_written(totals, recomputed)
        regrouping = _select_days(connection, scope, totals, full=full)
        changed, diffs = _regroup(connection, scope, run_id, regrouping.days, totals)
        _store_set_aside(connection, scope, run_id, totals)
        ownerless = ownerless_rows.find_ids(connection, scope, totals)
        rejected = ownerless_rows.find_rejects(connection, scope, totals, ownerless)
        rejects.write_rejects(connection, settings, rejected)
        written["usage_daily"] += len(ownerless_rows.find_undated(connection, scope, ownerless, write=True))
        by_month, whole = read_month_figures(connection, scope, window.months)
        records = [
            month_records.make_record(
                scope,
                month,
                by_month[month],
                run_id,
                closes=month in closing.months,
                is_complete=month not in regrouping.incomplete,
            )
            for month in window.months
        ]
        records += month_records.make_other_records(connection, scope, regrouping.days, run_id)
        months = run_log.update_months(connection, settings, records)
        changed |= {"billing_modes": written["billing_modes"] + entered, "usage_daily": written["usage_daily"]}
        changed |= {"rejects": written["rejects"] + len(rejected), "months": len(months)}
        # The approved plan includes all users, so it is comparable only if all were written.
        if totals.recorder is not None and not totals.not_written:
            totals.recorder.add_stage(END, list_end_changes(diffs, entries, rejected, months))
        count = rejects.count_rejects(connection, settings, window.spans())
        ended = Finalized(whole, by_month, count, changed, closing.months, regrouping.waiting, recomputed)
        _mark_done(connection, scope, run_id, totals.rows_read, ended, written)
    return ended


def list_end_changes(
    diffs: Sequence[Any],
    entries: Sequence[Entry],
    rejected: Sequence[RejectChange],
    months: Sequence[tuple[date, str, str]],
) -> Any:
    """Returns what the end of a run writes, for its plan (rollups.changes.CHANGES).

    ``diffs``: of the cluster tables; ``entries``: of rollup.billing_modes; ``months``: month, stored and new values.
    """
    import polars as pl

    from jobs.pipeline import row_changes

    lists = [row_changes.list_billing_modes(entries), row_changes.list_rejects(rejected)]
    return pl.concat([*(diff.list_changes() for diff in diffs), *lists, row_changes.list_months(months)])


def _append_billing_modes(
    connection: Connection, scope: RunScope, run_id: int, totals: Totals
) -> tuple[int, list[Entry]]:
    """Appends the billing modes of users whom no batch has written.

    Returns how many there are, and if a plan is compared the entries themselves.
    """
    pending, entries = scope.new_billing_modes_query(), list[Entry]()
    if totals.recorder is not None:
        entries = connection.execute(pending).fetchall()
        pending = billing_mode_history.known_entries_query(entries)
    return billing_mode_history.append_entries(connection, scope.settings, pending, run_id), entries


def _recompute_differing(
    connection: Connection, scope: RunScope, totals: Totals, closing: Closing
) -> "BatchResult | None":
    """Recomputes the users who differ in the months to be closed, and returns the result; None if no user differs.

    Raises NotClosableError if this is not possible here.
    """
    detected = detection.detect(connection, scope, sorted(closing.months), is_recheck=True)
    if _have_overrides_changed(connection, scope):
        raise NotClosableError(detected.work)
    recomputed = closing.recompute(connection, detected.work) if detected.work else None
    if unusable := find_unusable_payers(connection, scope.settings, scope.credits, closing.months):
        raise NotClosableError(None, unusable)
    totals.ownerless = max(totals.ownerless, detected.ownerless)
    return recomputed


def _have_overrides_changed(connection: Connection, scope: RunScope) -> bool:
    """Whether price overrides differ from those that this run has priced with."""
    now = price_overrides.read_overrides(
        connection, scope.settings, scope.source, scope.window.first, scope.window.last
    )
    return now.rows != scope.overrides.rows


def _count_written(totals: Totals, recomputed: "BatchResult | None") -> Counter[str]:
    """Returns how many rows batches have written by table, those of the closing transaction included."""
    more = {} if recomputed is None or recomputed.changes is None else recomputed.changes.counts
    return Counter({name: count + more.get(name, 0) for name, count in totals.changed.items()})


def _select_days(connection: Connection, scope: RunScope, totals: Totals, *, full: bool) -> _Regrouping:
    """Returns the days to regroup: touched days, and all days of months that had to be computed again.

    A month that is not in user_daily yet waits until all its users are; until then its touched days stay marked.
    """
    incomplete = scope.not_comparable if totals.not_written else frozenset[date]()
    waiting = frozenset(month for month in incomplete if scope.month_records.fingerprints.get(month) is None)
    rebuilt = scope.window.months if full else scope.not_comparable
    touched = cluster_rollups.days_to_regroup(connection, scope)
    days = {*touched, *(day for day in scope.window.days if first_of(day) in rebuilt)}
    return _Regrouping(sorted(day for day in days if first_of(day) not in waiting), incomplete, waiting)


def _regroup(
    connection: Connection, scope: RunScope, run_id: int, days: Sequence[date], totals: Totals
) -> tuple[dict[str, int], list[Any]]:
    """Regroups ``days``. Returns how many rows were written by table, and if a plan is compared the differences."""
    if not days:
        return NO_CLUSTERS, []
    from jobs.pipeline import cluster_tables

    diffs = cluster_tables.find_cluster_differences(connection, scope, days, cluster_tables.ClusterDeltas())
    changed = {diff.table.name: diff.write(connection, scope, run_id) for diff in diffs}
    cluster_rollups.untouch_days(connection, scope, days)
    return changed, diffs if totals.recorder is not None else []


def _store_set_aside(connection: Connection, scope: RunScope, run_id: int, totals: Totals) -> None:
    """Makes rollup.set_aside name the users that this run has set aside.

    A nightly run removes all others: it has written them, or nothing of theirs differs. A backfill removes only those
    whom it has written.
    """
    written = totals.users if scope.kind == "backfill" else None
    rejects.remove_set_aside(connection, scope.settings, written, remaining=totals.not_written)
    rejects.add_set_aside(connection, scope.settings, totals.set_aside, run_id)


def _mark_done(
    connection: Connection, scope: RunScope, run_id: int, rows_read: int, ended: Finalized, written: Counter[str]
) -> None:
    done = run_log.finish_run(
        connection,
        scope.settings,
        run_id,
        "done",
        rows_read=rows_read + (ended.recomputed.rows_read if ended.recomputed else 0),
        rows_rejected=ended.rejected,
        rows_changed=sum((written | ended.changed).values()),
        total_cost=ended.whole.total_cost,
        # Null without accounts: a run without a ledger leaves adoption to a later run.
        credits=None if not scope.credits.has_accounts else ended.whole.credits_deducted,
        covered_to=scope.window.last,
        accounts=scope.counts.accounts,
        overrides=scope.counts.overrides,
    )
    if not done:
        raise LockedError(f"run {run_id} is no longer marked running: another run has taken over and completes it")
