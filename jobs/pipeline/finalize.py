"""The end of a run, in one transaction: cluster tables of touched days, rejects without an owner, months, run log.

A month closes only if detection, asked once more in this transaction, finds nobody who differs. A run that dies before
leaves its touched days marked; the next one regroups them. No polars where no day was touched.
"""

from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from typing import TYPE_CHECKING, Any

from jobs.domain.billing_periods import first_of
from jobs.domain.errors import LockedError
from jobs.domain.fixed_point import scaled, unscaled
from jobs.domain.work_list import WorkList
from jobs.pipeline.plan import Plan
from jobs.pipeline.run_totals import Totals
from jobs.postgres import billing_mode_history, cluster_rollups, detection, price_overrides, rejects, run_log
from jobs.postgres.billing_mode_history import Entry
from jobs.postgres.connections import Connection, transaction
from jobs.postgres.credit_capabilities import unusable_payers
from jobs.postgres.detection import Detected
from jobs.postgres.month_figures import MonthFigures, month_figures, ran_out
from jobs.postgres.rejects import RejectChange
from jobs.postgres.run_lock import check_ownership

if TYPE_CHECKING:
    import polars as pl

    from jobs.pipeline.batch import BatchResult
    from jobs.postgres.usage_writeback import LostRow

END = "end"
NO_CLUSTERS = {"cluster_daily": 0, "cluster_monthly": 0}


class UnsettledError(Exception):
    """A month that was to be closed cannot be: ``work`` is to be done first, or the accounts of the users ``unusable``
    are to be corrected."""

    def __init__(self, work: WorkList | None, unusable: Sequence[str] = ()) -> None:
        super().__init__(f"{work.users if work else 0} users differ")
        self.work = work
        self.unusable = unusable


@dataclass(frozen=True, slots=True)
class Finalized:
    """``whole``: figures of all months of the window, ``by_month`` of each; ``rejected``: rows of the window that are
    rejected; ``changed``: rows by table; ``closed``: the months that were closed; ``waiting``: months whose cluster
    tables wait until every user is in user_daily; ``settled``: who was recomputed in the closing transaction."""

    whole: MonthFigures
    by_month: dict[date, MonthFigures]
    rejected: int = 0
    changed: dict[str, int] = field(default_factory=dict)
    closed: frozenset[date] = frozenset()
    waiting: frozenset[date] = frozenset()
    settled: "BatchResult | None" = None


@dataclass(frozen=True, slots=True)
class Closing:
    """The ``months`` to close; ``settle`` recomputes users in the transaction that closes them, and raises
    UnsettledError where it cannot."""

    months: frozenset[date]
    settle: Callable[[Connection, WorkList], "BatchResult"]


def finalize(
    connection: Connection, plan: Plan, run_id: int, totals: Totals, closing: Closing, *, full: bool
) -> Finalized:
    """Writes what only the whole run knows, and marks it done. ``full``: the cluster tables are rebuilt whole.

    A month closes as it is when detection looks: who differs then is recomputed here, and stays locked until the end;
    what others write after that comes after the close. Raises UnsettledError, with nothing written, where a month
    cannot be closed yet; MovedError where the changes are not what was approved; LockedError where another run has
    taken over.
    """
    settings = plan.settings
    with transaction(connection):
        if run_log.status(connection, settings, run_id) == "done":
            # The answer to an earlier COMMIT was lost, and this is another try: done is done.
            by_month, whole = month_figures(connection, plan, plan.window.months)
            return Finalized(
                whole, by_month, rejects.count_rejects(connection, settings, plan.window.spans()), {}, closing.months
            )
        check_ownership(connection, settings, run_id)
        # Before detection looks once more: what it finds is what closes.
        entered, entries = _enter_modes(connection, plan, run_id, totals)
        settled = _settle(connection, plan, totals, closing) if closing.months else None
        written = _written(totals, settled)
        days = cluster_rollups.days_to_regroup(connection, plan)
        # A month that was computed otherwise before, or whose tables have lost something, is regrouped whole. Where it
        # was not in user_daily yet, that is once everybody is: until then its days stay marked.
        behind = plan.not_comparable if totals.not_written else frozenset[date]()
        waiting = frozenset(month for month in behind if plan.months.fingerprints.get(month) is None)
        rebuilt = plan.window.months if full else plan.not_comparable
        every = {*days, *(day for day in plan.window.days if first_of(day) in rebuilt)}
        days = sorted(day for day in every if first_of(day) not in waiting)
        changed, listed = _regroup(connection, plan, run_id, days, totals)
        _keep_set_aside(connection, plan, run_id, totals)
        ownerless = _ownerless_ids(connection, plan, totals)
        rejected = ownerless_rejects(connection, plan, totals, ownerless)
        rejects.write_rejects(connection, settings, rejected)
        misplaced = _misplaced_rows(connection, plan, ownerless, lock=True)
        written["usage_daily"] += len(misplaced)
        by_month, whole = month_figures(connection, plan, plan.window.months)
        figures = [
            _booked(plan, month, by_month[month], run_id, closes=month in closing.months, is_whole=month not in behind)
            for month in plan.window.months
        ]
        figures += _regrouped_besides(connection, plan, days, run_id)
        booked = run_log.book_months(connection, settings, figures)
        changed |= {"billing_modes": written["billing_modes"] + entered, "usage_daily": written["usage_daily"]}
        changed |= {"rejects": written["rejects"] + len(rejected), "months": len(booked)}
        # What was approved is what the end comes to with everybody.
        if totals.recorder is not None and not totals.not_written:
            totals.recorder.add_stage(END, _listed(listed, entries, rejected, booked))
        count = rejects.count_rejects(connection, settings, plan.window.spans())
        ended = Finalized(whole, by_month, count, changed, closing.months, waiting, settled)
        _mark_done(connection, plan, run_id, totals.rows_read, ended, written)
    return ended


def _enter_modes(connection: Connection, plan: Plan, run_id: int, totals: Totals) -> tuple[int, list[Entry]]:
    """Enters how those users pay whom no batch has entered: how many, and where a plan is compared which."""
    entries, found = plan.pending_modes(), list[Entry]()
    if totals.recorder is not None:
        found = connection.execute(entries).fetchall()
        entries = billing_mode_history.listed_entries(found)
    return billing_mode_history.append_entries(connection, plan.settings, entries, run_id), found


def _settle(connection: Connection, plan: Plan, totals: Totals, closing: Closing) -> "BatchResult | None":
    """Makes nobody differ in the months that are to be closed; what was recomputed for it, if anything.

    Raises UnsettledError where that cannot be done here.
    """
    again = detection.detect(connection, plan, sorted(closing.months), again=True)
    if _overrides_moved(connection, plan):
        raise UnsettledError(again.work)
    settled = closing.settle(connection, again.work) if again.work else None
    if unusable := unusable_payers(connection, plan.settings, plan.query.read.credits, closing.months):
        raise UnsettledError(None, unusable)
    totals.ownerless = max(totals.ownerless, again.ownerless)
    return settled


def _written(totals: Totals, settled: "BatchResult | None") -> Counter[str]:
    """Rows by table that batches have written, those of the closing transaction among them."""
    more = {} if settled is None or settled.changes is None else settled.changes.counts
    return Counter({name: count + more.get(name, 0) for name, count in totals.changed.items()})


def _keep_set_aside(connection: Connection, plan: Plan, run_id: int, totals: Totals) -> None:
    """Makes rollup.set_aside hold whom this run has set aside. Whom it has not, a nightly run has written again, or
    found that nothing of his differs; a backfill knows that of those only whom it has written."""
    written = totals.users if plan.kind == "backfill" else None
    rejects.end_set_aside(connection, plan.settings, written, kept=totals.not_written)
    rejects.set_aside(connection, plan.settings, totals.set_aside, run_id)


def _overrides_moved(connection: Connection, plan: Plan) -> bool:
    """Whether price overrides are no longer those by which this run has priced."""
    now = price_overrides.read_overrides(
        connection, plan.settings, plan.query.read, plan.window.first, plan.window.last
    )
    return now.rows != plan.overrides.rows


def preview(
    connection: Connection, plan: Plan, totals: Totals, detected: Detected, before: Finalized, *, full: bool
) -> Finalized:
    """What ``finalize`` would write after the changes in ``totals``, computed read-only inside the caller's
    transaction. ``before``: the figures of the months as they are stored."""
    from jobs.pipeline import cluster_tables

    deltas = totals.deltas or cluster_tables.ClusterDeltas()
    months = plan.window.months if full else plan.not_comparable
    rebuilt = {day for day in plan.window.days if first_of(day) in months}
    days = sorted({*cluster_rollups.days_to_regroup(connection, plan), *deltas.touched, *rebuilt})
    diffs = cluster_tables.regroup(connection, plan, days, deltas) if days else []
    # What its own batches would have described by then, a run does not find outdated.
    ownerless = _ownerless_ids(connection, plan, totals)
    found = ownerless_rejects(connection, plan, totals, ownerless)
    rejected = [each for each in found if each.id not in totals.reject_ids]
    by_month, whole = _after(plan, totals, detected, before)
    closing = plan.window.closing
    totals.holding_up = unusable_payers(connection, plan.settings, plan.query.read.credits, closing)
    if totals.holding_up or totals.set_aside:
        closing = frozenset()
    short = ran_out_rows(connection, plan, totals)
    whole = replace(whole, users_ran_out=short.filter(short["month"].is_in(plan.summed_months))["user_id"].n_unique())
    figures = [_booked(plan, month, by_month[month], None, closes=month in closing) for month in plan.window.months]
    figures += _regrouped_besides(connection, plan, days, None)
    booked = run_log.months_to_book(connection, plan.settings, figures)
    changed = NO_CLUSTERS | {diff.table.name: diff.rows for diff in diffs}
    misplaced = _misplaced_rows(connection, plan, ownerless, lock=False)
    changed["usage_daily"] = totals.changed["usage_daily"] + len(misplaced)
    changed["billing_modes"] = billing_mode_history.count_entries(connection, plan.pending_modes())
    changed |= {"rejects": totals.changed["rejects"] + len(rejected), "months": len(booked)}
    if totals.recorder is not None:
        entries = [entry for entry in connection.execute(plan.pending_modes()) if entry[0] not in totals.users]
        totals.recorder.add_stage(END, _listed(diffs, entries, rejected, booked))
    count = rejects.count_rejects(connection, plan.settings, plan.window.spans())
    count += totals.rejected + sum(map(rejects.count_change, rejected))
    return Finalized(whole, by_month, count, changed, closing)


def ran_out_rows(connection: Connection, plan: Plan, totals: Totals) -> "pl.DataFrame":
    """user_id, month and amount (``uncovered``, units of 10^-10) of prepaid usage that no credit covers; in a dry run
    with what its batches change."""
    import polars as pl

    schema = {"user_id": pl.String, "month": pl.Date, "uncovered": pl.Int128}
    stored = [(user, month, scaled(amount)) for user, month, amount in ran_out(connection, plan, plan.window.months)]
    rows = pl.DataFrame(stored, schema=schema, orient="row")
    for put, before in totals.months:
        rows = rows.join(before.select("user_id", "month"), on=["user_id", "month"], how="anti")
        added = put.filter(pl.col("uncovered") > 0).select(pl.col(name).cast(kind) for name, kind in schema.items())
        rows = pl.concat([rows, added])
    return rows


def ownerless_rejects(connection: Connection, plan: Plan, totals: Totals, ids: Collection[str]) -> list[RejectChange]:
    """What is to change in rollup.rejects for rows that no batch sees: without a user or a day, or changed in a way
    that no fingerprint covers."""
    spans = plan.window.spans()
    found = rejects.read_rejects(connection, plan.query, ids) + rejects.read_outdated(connection, plan.query, spans)
    changes = rejects.changes_without_owner(connection, plan.settings, found, spans)
    # Of a user who was not recomputed a row stays rejected until it is priced.
    return [change for change in changes if change.user not in totals.not_written]


def _misplaced_rows(connection: Connection, plan: Plan, ids: Collection[str], *, lock: bool) -> "list[LostRow]":
    """Rows without a day that show what was drawn on them for another user: no batch sees them. ``lock``: they are
    written. A backfill leaves them to the next run, for they are in none of its months."""
    if not ids or plan.kind == "backfill":
        return []
    from jobs.postgres import usage_writeback

    misplaced = usage_writeback.misplaced_rows(connection, plan, ids, lock=lock)
    if lock:
        usage_writeback.write_lost_rows(connection, plan, misplaced)
    return misplaced


def _ownerless_ids(connection: Connection, plan: Plan, totals: Totals) -> list[str]:
    """Rows without a user or a day. Without an index on date this reads the whole table: detection has counted whether
    there are any."""
    if not totals.ownerless:
        return []
    return [str(row[0]) for row in connection.execute(plan.query.ownerless(plan.window.spans()))]


def _regroup(
    connection: Connection, plan: Plan, run_id: int, days: Sequence[date], totals: Totals
) -> tuple[dict[str, int], list[Any]]:
    """Rows written by table, and what differed."""
    if not days:
        return NO_CLUSTERS, []
    from jobs.pipeline import cluster_tables

    diffs = cluster_tables.regroup(connection, plan, days, cluster_tables.ClusterDeltas())
    changed = {diff.table.name: diff.write(connection, plan, run_id) for diff in diffs}
    cluster_rollups.untouch_days(connection, plan, days)
    return changed, diffs if totals.recorder is not None else []


def _listed(
    diffs: Sequence[Any],
    entries: Sequence[Entry],
    rejected: Sequence[RejectChange],
    booked: Sequence[tuple[date, str, str]],
) -> Any:
    import polars as pl

    from jobs.pipeline import row_changes

    parts = [
        row_changes.mode_changes(entries),
        row_changes.reject_changes(rejected),
        row_changes.month_changes(booked),
    ]
    return pl.concat([*(diff.changes() for diff in diffs), *parts])


def _booked(
    plan: Plan, month: date, figures: MonthFigures, run_id: int | None, *, closes: bool, is_whole: bool = True
) -> dict[str, Any]:
    """What rollup.months shall hold of a month. Where it was not computed whole (``is_whole``), what its prices and
    hashes cover stays as it was, and the next run goes on with it."""
    return {
        "month": month,
        "row_count": figures.row_count,
        "usage_hash": figures.usage_hash,
        "rates_hash": plan.month_rates(month) if is_whole else plan.months.rates.get(month),
        "total_cost": figures.total_cost,
        "fingerprint": plan.fingerprints[month].text if is_whole else plan.months.fingerprints.get(month),
        "closes": closes,
        "run_id": run_id,
        "cost_mode": plan.modes.get(month) or plan.months.modes[month],
        "currency": plan.currencies.get(month) or plan.months.currencies.get(month),
    }


def _regrouped_besides(
    connection: Connection, plan: Plan, days: Collection[date], run_id: int | None
) -> list[dict[str, Any]]:
    """What rollup.months shall hold of months that are not this run's, of which it regroups ``days``: a backfill that
    died has changed user_monthly."""
    months = sorted({first_of(day) for day in days} - set(plan.window.months))
    if not months:
        return []
    by_month, _ = month_figures(connection, plan, months)
    return [_booked(plan, month, by_month[month], run_id, closes=False, is_whole=False) for month in months]


def _after(
    plan: Plan, totals: Totals, detected: Detected, before: Finalized
) -> tuple[dict[date, MonthFigures], MonthFigures]:
    """The figures as they would be with what the batches change."""
    names = ("total_cost", "credits_deducted", "uncovered", "amount_due", "amount_reported", "amount_free")
    sums: dict[date, dict[str, int]] = {month: dict.fromkeys(names, 0) for month in plan.window.months}
    for put, stored in totals.months:
        for frame, sign in ((put, 1), (stored, -1)):
            for row in frame.select("month", *names).group_by("month").sum().iter_rows(named=True):
                for name in names:
                    sums[row["month"]][name] += sign * (row[name] or 0)
    by_month = {}
    for month in plan.window.months:
        old, now = before.by_month[month], detected.months.get(month)
        figures: Any = {name: getattr(old, name) + unscaled(sums[month][name]) for name in names}
        counts = (now.users, now.rows) if now else (0, 0)
        by_month[month] = MonthFigures(*counts, usage_hash=None, **figures)
    summed = [by_month[month] for month in plan.summed_months]
    whole: Any = {name: sum((getattr(each, name) for each in summed), start=unscaled(0)) for name in names}
    users = sum(each.users for each in summed)
    return by_month, MonthFigures(users, usage_hash=None, **whole)


def _mark_done(
    connection: Connection, plan: Plan, run_id: int, rows_read: int, ended: Finalized, written: Counter[str]
) -> None:
    done = run_log.finish_run(
        connection,
        plan.settings,
        run_id,
        "done",
        rows_read=rows_read + (ended.settled.rows_read if ended.settled else 0),
        rows_rejected=ended.rejected,
        rows_changed=sum((written | ended.changed).values()),
        total_cost=ended.whole.total_cost,
        # Null where there is nothing to draw from: a run that keeps no ledger leaves adoption to one that does.
        credits=None if plan.query.read.credits.account is None else ended.whole.credits_deducted,
        covered_to=plan.window.last,
        accounts=plan.counts.accounts,
        overrides=plan.counts.overrides,
    )
    if not done:
        raise LockedError(f"run {run_id} is no longer marked running: another run has taken over and completes it")
