"""Proof on demand: every invariant on the live database, read-only, in one snapshot.

What SQL can add up is judged there (``postgres.ledger_invariants``); the rest is computed anew (``recalculation``).
"""

from collections.abc import Iterator
from dataclasses import replace
from datetime import date
from functools import partial

from jobs.audit.recalculation import ROWS, CheckTotals, recalculate
from jobs.domain.billing_periods import Window, first_of, first_open_month, last_of
from jobs.domain.errors import ConfigError
from jobs.pipeline.plan import Plan, for_window
from jobs.pipeline.shrink_check import has_shrunk
from jobs.postgres import ledger_invariants, preflight, run_log, server_clock
from jobs.postgres.connections import Connection, open_link, transaction
from jobs.postgres.conninfo import Address
from jobs.postgres.detection import Detected
from jobs.postgres.errors import retry
from jobs.postgres.invariants import Law, sides
from jobs.postgres.ledger_invariants import LastRun, Unfinished
from jobs.postgres.rollup_invariants import Scope
from jobs.postgres.run_lock import state_of_run
from jobs.settings import Settings

BETWEEN_BATCHES = (ledger_invariants.LEDGER_BY_ROW, ROWS)
"""A row that has moved to another user is in the batches of both; the rows of a month are counted at the end."""


def reconcile(settings: Settings, address: Address, since: date | None, until: date | None) -> list[Law]:
    """Every law with both figures; of the open months, and of the closed ones that ``since`` to ``until`` touches.

    Sums of our own tables are judged in all months, unless these days limit them. Raises ConfigError (exit 2) where
    no month in question has been covered.
    """

    def judged() -> tuple[list[Law], list[Unfinished], LastRun | None]:
        with transaction(link.connection, snapshot=True) as connection:
            return _judged(connection, settings, address, (since, until))

    def state(run_id: int) -> str:
        with transaction(link.connection) as connection:
            return state_of_run(connection, settings, run_id)

    with open_link(address) as link:
        found, unfinished, newest = retry(judged)
        # A run that is killed cannot say so: its row says running until the next run marks it.
        if newest is not None and newest.status == "running":
            newest = replace(newest, status=retry(partial(state, newest.number)))
    if newest is not None and (newest.status == "running" or (newest.status != "done" and newest.wrote)):
        found = [_between_batches(law, newest) for law in found]
    return sorted([*_run(unfinished, newest), *found], key=lambda law: law.law)


def _between_batches(law: Law, run: LastRun) -> Law:
    """What holds only once every batch of a run, and its end, are committed."""
    if law.law not in BETWEEN_BATCHES or not law.broken:
        return law
    end = "is at work" if run.status == "running" else "did not come to its end"
    return replace(law, broken=0, culprits=(), differences=(), note=f"run {run.number} {end}", judged=False)


def _judged(
    connection: Connection, settings: Settings, address: Address, days: tuple[date | None, date | None]
) -> tuple[list[Law], list[Unfinished], LastRun | None]:
    """The laws, the runs that wrote and did not come to their end, and the newest run."""
    source, findings = preflight.inspect_source(connection, settings)
    preflight.refuse_findings(findings, purpose="prove")
    today = server_clock.today(connection)
    history, booked = run_log.history(connection, settings, today)
    last, given = history.furthest or today, days != (None, None)
    months = [m for m in sorted(booked.modes) if _within(m, *days)]
    if not months:
        raise ConfigError("no run has covered a month of these days yet; expected one: usage-jobs runs")
    rows_of = months if given else sorted(booked.modes.keys() - history.closed)
    scope = Scope(months, rows_of, last)
    yielded = list(ledger_invariants.judged(connection, settings, source.credits, scope))
    found = CheckTotals()
    # All open months are one draw window, whatever days were asked for.
    since_when = first_open_month(history, settings.start, last)
    still_open = tuple(sorted(m for m in booked.modes.keys() - history.closed if m >= since_when))
    # A closed month is one by itself: what is drawn in others on rows that have come from there is not drawn in it.
    for are_open, some in ((True, still_open), *((False, (month,)) for month in months if month not in still_open)):
        if some and (are_open or given):
            plan = for_window(connection, settings, source, Window(some, last, frozenset()), booked)
            detected = recalculate(connection, address, plan, found, draws=are_open)
            yielded += _shrink(plan, detected) if are_open else []
    every = [*yielded, *found.laws(), _stale(found)]
    return every, ledger_invariants.unfinished(connection, settings), ledger_invariants.last_run(connection, settings)


def _within(month: date, since: date | None, until: date | None) -> bool:
    return (since is None or last_of(month) >= since) and (until is None or month <= first_of(until))


def _run(unfinished: list[Unfinished], last: LastRun | None) -> Iterator[Law]:
    if last is not None:
        law = Law("7 the last run is done", "done", last.status)
        if last.status == "running":
            law = replace(law, note=f"run {last.number} is at work", judged=False)
        elif last.status != "done" and not last.wrote:
            law = replace(law, note=f"run {last.number} wrote nothing", judged=False)
        if last.status == "crashed" and last.wrote:
            unfinished = sorted({*unfinished, (last.number, last.kind, last.first, last.last)})
        if unfinished:
            culprits = [_remedy(*run) for run in unfinished]
            law = replace(law, broken=len(culprits), culprits=tuple(culprits), judged=True)
        yield law


def _remedy(number: int, kind: str, first: date, last: date) -> str:
    again = "usage-jobs run" if kind == "run" else f"usage-jobs backfill --from {first} --to {last} --reason TEXT"
    return f"run {number}: {again} completes it"


def _stale(found: CheckTotals) -> Law:
    note = "of the other side usage, prices, mode or account changed since the last run: the next one takes them"
    return Law("user-months judged, and not", found.same, found.stale, note=note if found.stale else "", judged=False)


def _shrink(plan: Plan, detected: Detected) -> Iterator[Law]:
    bad = [month for month in plan.window.months if has_shrunk(plan, detected, month)]
    counts = [(plan.months.rows.get(m, 0), detected.months[m].rows if m in detected.months else 0) for m in bad]
    before = sum(plan.months.rows.get(month, 0) for month in plan.window.months)
    yield Law(
        "8 usage has not shrunk since (rows counted, rows now)",
        before,
        detected.rows,
        len(bad),
        tuple(f"{month:%Y-%m}" for month in bad),
        tuple(sides("", *both) for both in counts),
    )
