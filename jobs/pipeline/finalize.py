"""The end of a run, in one transaction: cluster tables of touched days, ownerless rejects, months, run log.

A month closes only if detection, run again in this transaction, finds no user who differs, or few who can be recomputed
in it. If a run ends before this transaction commits, its touched days stay marked, and the next run regroups them.
Imports polars only if there is something to write that needs it.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import TYPE_CHECKING

from jobs.domain.errors import LockedError
from jobs.domain.work_list import WorkList
from jobs.pipeline.end_changes import compute_end
from jobs.pipeline.run_totals import Totals
from jobs.postgres import billing_mode_history, detection, price_overrides, rejects, run_log
from jobs.postgres.billing_mode_history import Entry
from jobs.postgres.connections import Connection, transaction
from jobs.postgres.credit_capabilities import find_unusable_payers
from jobs.postgres.month_figures import MonthFigures, read_month_figures
from jobs.postgres.run_lock import check_ownership
from jobs.postgres.run_scope import RunScope

if TYPE_CHECKING:
    from jobs.pipeline.batches import BatchResult


class NotClosableError(Exception):
    """A month cannot be closed: ``work`` has to be done first, or the accounts of ``unusable`` users corrected."""

    def __init__(self, work: WorkList | None, unusable: Sequence[str] = ()) -> None:
        super().__init__(f"{work.user_count if work else 0} users differ")
        self.work = work
        self.unusable = unusable


@dataclass(frozen=True, slots=True)
class Finalized:
    """The result of the end of a run.

    - ``by_month``: figures of each month; ``whole``: the sum of those in the currency of the run
      (RunScope.summed_months);
    - ``rejected``: how many rows of the window are rejected; ``changed``: rows by table;
    - ``closed``: the months that were closed;
    - ``waiting``: months whose cluster tables wait until all users are in user_daily;
    - ``closing_result``: of the users who were recomputed in this transaction; None: no user was.
    """

    whole: MonthFigures
    by_month: dict[date, MonthFigures]
    rejected: int = 0
    changed: dict[str, int] = field(default_factory=dict)
    closed: frozenset[date] = frozenset()
    waiting: frozenset[date] = frozenset()
    closing_result: "BatchResult | None" = None


@dataclass(frozen=True, slots=True)
class Closing:
    """The ``months`` to close; ``recompute``: recomputes users in the closing transaction, or raises
    NotClosableError."""

    months: frozenset[date]
    recompute: Callable[[Connection, WorkList], "BatchResult"]


def finalize(
    connection: Connection, scope: RunScope, run_id: int, totals: Totals, closing: Closing, *, full: bool
) -> Finalized:
    """Writes what only the whole run knows, and marks the run done.

    ``full``: whether the cluster tables of all months of the window are regrouped. Users who differ when detection runs
    again are recomputed here, and stay locked until the end. What others write after that belongs to the time after
    the close. Raises NotClosableError, with nothing written, if a month cannot be closed yet;
    PlanMismatchError if the changes are not the approved ones; LockedError if another run has taken over.
    """
    settings, window = scope.settings, scope.window
    with transaction(connection):
        if run_log.read_status(connection, settings, run_id) == "done":
            # The answer to an earlier COMMIT was lost, and this is another try.
            figures_by_month, whole = read_month_figures(connection, scope, window.months)
            count = rejects.count_rejects(connection, settings, window.spans())
            return Finalized(whole, figures_by_month, count, {}, closing.months)
        check_ownership(connection, settings, run_id)
        # Before detection runs again, because detection decides what closes.
        entered, entries = _append_billing_modes(connection, scope, run_id, totals)
        closing_result = _recompute_differing(connection, scope, totals, closing) if closing.months else None
        figures_by_month, whole = read_month_figures(connection, scope, window.months)
        changes = compute_end(connection, scope, totals, figures_by_month, closing.months, full=full)
        # The approved plan includes all users, so it is comparable only if all were written.
        if totals.recorder is not None and not totals.not_written:
            from jobs.pipeline.plan_approval import END

            totals.recorder.add_stage(END, changes.list_changes(entries))
        changes.write(connection, scope, run_id)
        _store_set_aside(connection, scope, run_id, totals)
        written = _count_written(totals, closing_result)
        changed = {name: written[name] + count for name, count in (changes.counts | {"billing_modes": entered}).items()}
        ended = Finalized(
            whole, figures_by_month, changes.rows_rejected, changed, closing.months, changes.waiting, closing_result
        )
        _mark_done(connection, scope, run_id, totals.rows_read, ended, written)
    return ended


def _append_billing_modes(
    connection: Connection, scope: RunScope, run_id: int, totals: Totals
) -> tuple[int, list[Entry]]:
    """Appends the billing modes of users whom no batch has written.

    Returns how many there are, and if a plan is compared the entries themselves.
    """
    pending, entries = billing_mode_history.pending_query(scope), list[Entry]()
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
    detected = detection.detect(connection, scope, sorted(closing.months), is_before_close=True)
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
        rows_read=rows_read + (ended.closing_result.rows_read if ended.closing_result else 0),
        rows_rejected=ended.rejected,
        rows_changed=sum({**written, **ended.changed}.values()),
        total_cost=ended.whole.total_cost,
        # Null without accounts: then a later run still counts as the first one with a ledger, and adopts.
        credits=None if not scope.credits.has_accounts else ended.whole.credits_deducted,
        covered_to=scope.window.last,
        **{kind: rows for kind, (rows, _) in scope.counts.items()},
    )
    if not done:
        raise LockedError(f"run {run_id} is no longer marked running: another run has taken over and completes it")
