"""`usage-jobs reconcile`: checks every invariant on the live database, read-only, in one snapshot.

Sums are checked in SQL (``postgres.ledger_invariants``, ``postgres.rollup_invariants``); the other checks need a
recomputation (``recalculation``).
"""

from collections.abc import Iterator
from dataclasses import replace
from datetime import date
from functools import partial

from jobs.audit.recalculation import ROW_COUNTS, CheckTotals, check_counts, recalculate
from jobs.domain.billing_periods import Window, first_of, first_open_month, last_of
from jobs.domain.errors import ConfigError
from jobs.domain.wording import count
from jobs.pipeline.planning import make_window_scope
from jobs.pipeline.shrink_check import has_shrunk
from jobs.postgres import ledger_invariants, preflight, run_log, server_clock
from jobs.postgres.connections import Connection, query_database
from jobs.postgres.conninfo import Address
from jobs.postgres.detection import Detected, MonthCount
from jobs.postgres.invariants import InvariantCheck
from jobs.postgres.ledger_invariants import Run
from jobs.postgres.run_lock import read_run_state
from jobs.postgres.run_scope import RunScope
from jobs.settings import Settings

BETWEEN_BATCHES = (ledger_invariants.LEDGER_BY_ROW, ROW_COUNTS)
"""Checks that can fail while a run is unfinished: a usage row that moved to another user is in two batches, and the
rows of a month are counted at the end."""


def reconcile(settings: Settings, address: Address, since: date | None, until: date | None) -> list[InvariantCheck]:
    """The result of every check, for the open months and for the closed months within ``since`` to ``until``.

    Sums of the job's own tables are checked in all months, unless these days are given. Raises ConfigError if no run
    has covered any of these months.
    """
    results, unfinished, last = query_database(
        address, lambda connection: _check(connection, settings, address, (since, until)), snapshot=True
    )
    # The row of a killed run still has the status running, until the next run corrects it.
    if last is not None and last.status == "running":
        state = query_database(address, partial(read_run_state, settings=settings, run_id=last.number))
        last = last._replace(status=state)
    if last is not None and (last.status == "running" or (last.status != "done" and last.has_written)):
        note = f"run {last.number} is {'at work' if last.status == 'running' else 'not finished'}"
        results = [
            InvariantCheck(result.title, result.left, result.right, note=note, is_judged=False)
            if result.broken and result.title in BETWEEN_BATCHES
            else result
            for result in results
        ]
    return sorted([*_check_last_run(unfinished, last), *results], key=lambda result: result.title)


def _check(
    connection: Connection, settings: Settings, address: Address, days: tuple[date | None, date | None]
) -> tuple[list[InvariantCheck], list[Run], Run | None]:
    """The results, the unfinished runs that have written something, and the newest run."""
    source, findings = preflight.inspect_source(connection, settings)
    preflight.refuse_findings(findings, purpose="prove")
    today = server_clock.today(connection)
    history, covered = run_log.read_history(connection, settings, today)
    last, are_days_given = history.furthest or today, days != (None, None)
    months = [m for m in sorted(covered.modes) if _is_within(m, *days)]
    if not months:
        raise ConfigError("no run has covered a month of these days yet; expected one: usage-jobs runs")
    row_months = months if are_days_given else sorted(covered.modes.keys() - history.closed)
    checks = ledger_invariants.check_invariants(connection, settings, source.credits, months, row_months, last)
    results = list(checks)
    found = CheckTotals()
    # All open months are one draw window, whichever days are given.
    first_open = first_open_month(history, settings.start, last)
    still_open = tuple(sorted(m for m in covered.modes.keys() - history.closed if m >= first_open))
    # A closed month is a draw window of its own. Draws of other months on its rows are not checked with it.
    for are_open, some in ((True, still_open), *((False, (month,)) for month in months if month not in still_open)):
        if some and (are_open or are_days_given):
            scope = make_window_scope(connection, settings, source, Window(some, last, frozenset()), covered)
            detected = recalculate(connection, address, scope, found, draws=are_open)
            results += [_check_shrink(scope, detected)] if are_open else []
    results += [*found.checks.values(), _count_stale(found)]
    return results, *ledger_invariants.read_unfinished_runs(connection, settings)


def _is_within(month: date, since: date | None, until: date | None) -> bool:
    return (since is None or last_of(month) >= since) and (until is None or month <= first_of(until))


def _check_last_run(unfinished: list[Run], last: Run | None) -> Iterator[InvariantCheck]:
    """The check that the last run is done; its broken keys are all ``unfinished`` runs, with their remedies."""
    if last is None:
        return
    result = InvariantCheck("7 the last run is done", "done", last.status)
    if last.status == "running":
        result = replace(result, note=f"run {last.number} is at work", is_judged=False)
    elif last.status != "done" and not last.has_written:
        result = replace(result, note=f"run {last.number} wrote nothing", is_judged=False)
    remedies = {run.number: run.remedy for run in unfinished}
    if last.status == "crashed" and last.has_written:
        remedies[last.number] = last.remedy
    if remedies:
        keys = tuple(f"run {number}: {remedy} completes it" for number, remedy in sorted(remedies.items()))
        result = replace(result, broken=len(keys), broken_keys=keys, is_judged=True)
    yield result


def _count_stale(found: CheckTotals) -> InvariantCheck:
    """The counts of user-months that were checked and that were not."""
    note = (
        f"not checked: {count(found.not_checked, 'user-month')} of which usage, prices, billing mode or account have "
        "changed since the last run; the next run computes them"
    )
    title = "user-months: checked, not checked"
    return InvariantCheck(
        title, found.checked, found.not_checked, note=note if found.not_checked else "", is_judged=False
    )


def _check_shrink(scope: RunScope, detected: Detected) -> InvariantCheck:
    months, before = scope.window.months, scope.month_records.rows
    counts = {month: (before.get(month, 0), detected.months.get(month, MonthCount()).rows) for month in months}
    bad = [month for month in months if has_shrunk(scope, detected, month)]
    return check_counts("8 usage has not shrunk since (rows counted, rows now)", counts, bad)
