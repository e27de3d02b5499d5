"""Preview of the end of a run: what ``finalize`` would write after a dry run, computed read-only."""

from dataclasses import replace
from datetime import date
from typing import Any

from jobs.domain.billing_periods import first_of
from jobs.domain.fixed_point import unscaled
from jobs.pipeline import cluster_tables, month_records, ownerless_rows
from jobs.pipeline.finalize import END, NO_CLUSTERS, Finalized, list_end_changes
from jobs.pipeline.ran_out import compute_ran_out
from jobs.pipeline.run_totals import Totals
from jobs.postgres import billing_mode_history, cluster_rollups, rejects, run_log
from jobs.postgres.connections import Connection
from jobs.postgres.credit_capabilities import find_unusable_payers
from jobs.postgres.detection import Detected
from jobs.postgres.month_figures import MonthFigures
from jobs.postgres.run_scope import RunScope

AMOUNTS = ("total_cost", "credits_deducted", "uncovered", "amount_due", "amount_reported", "amount_free")


def preview(
    connection: Connection, scope: RunScope, totals: Totals, detected: Detected, before: Finalized, *, full: bool
) -> Finalized:
    """Returns what ``finalize`` would write after the changes in ``totals``. Call inside a transaction.

    ``before``: the figures of the months as they are stored; ``full``: whether all cluster tables are rebuilt.
    """
    deltas = totals.deltas or cluster_tables.ClusterDeltas()
    rebuilt = scope.window.months if full else scope.not_comparable
    days_rebuilt = {day for day in scope.window.days if first_of(day) in rebuilt}
    days = sorted({*cluster_rollups.days_to_regroup(connection, scope), *deltas.touched_days, *days_rebuilt})
    diffs = cluster_tables.find_cluster_differences(connection, scope, days, deltas) if days else []
    ownerless = ownerless_rows.find_ids(connection, scope, totals)
    # Rejects that the batches change are left out: a run has written them by then.
    ownerless_rejects = ownerless_rows.find_rejects(connection, scope, totals, ownerless)
    rejected = [change for change in ownerless_rejects if change.id not in totals.reject_ids]
    by_month, whole = _predict_figures(scope, totals, detected, before)
    closing = scope.window.closing
    totals.holding_up = find_unusable_payers(connection, scope.settings, scope.credits, closing)
    if totals.holding_up or totals.set_aside:
        closing = frozenset()
    whole = replace(whole, users_ran_out=_count_ran_out(connection, scope, totals))
    records = [
        month_records.make_record(scope, month, by_month[month], None, closes=month in closing)
        for month in scope.window.months
    ]
    records += month_records.make_other_records(connection, scope, days, None)
    months = run_log.find_month_changes(connection, scope.settings, records)
    undated = ownerless_rows.find_undated(connection, scope, ownerless, write=False)
    changed = NO_CLUSTERS | {diff.table.name: diff.row_count for diff in diffs}
    changed["usage_daily"] = totals.changed["usage_daily"] + len(undated)
    changed["billing_modes"] = billing_mode_history.count_entries(connection, scope.new_billing_modes_query())
    changed |= {"rejects": totals.changed["rejects"] + len(rejected), "months": len(months)}
    if totals.recorder is not None:
        entries = [
            entry for entry in connection.execute(scope.new_billing_modes_query()) if entry[0] not in totals.users
        ]
        totals.recorder.add_stage(END, list_end_changes(diffs, entries, rejected, months))
    count = rejects.count_rejects(connection, scope.settings, scope.window.spans())
    count += totals.rejected + sum(map(rejects.count_change, rejected))
    return Finalized(whole, by_month, count, changed, closing)


def _count_ran_out(connection: Connection, scope: RunScope, totals: Totals) -> int:
    rows = compute_ran_out(connection, scope, totals)
    return rows.filter(rows["month"].is_in(scope.summed_months))["user_id"].n_unique()


def _predict_figures(
    scope: RunScope, totals: Totals, detected: Detected, before: Finalized
) -> tuple[dict[date, MonthFigures], MonthFigures]:
    """Returns the figures as they would be after the changes of the batches: by month, and of all summed months."""
    sums: dict[date, dict[str, int]] = {month: dict.fromkeys(AMOUNTS, 0) for month in scope.window.months}
    for target, stored in totals.months:
        for frame, sign in ((target, 1), (stored, -1)):
            for row in frame.select("month", *AMOUNTS).group_by("month").sum().iter_rows(named=True):
                for name in AMOUNTS:
                    sums[row["month"]][name] += sign * (row[name] or 0)
    by_month = {}
    for month in scope.window.months:
        old, count = before.by_month[month], detected.months.get(month)
        figures: Any = {name: getattr(old, name) + unscaled(sums[month][name]) for name in AMOUNTS}
        users, rows = (count.users, count.rows) if count else (0, 0)
        by_month[month] = MonthFigures(users, rows, usage_hash=None, **figures)
    summed = [by_month[month] for month in scope.summed_months]
    whole: Any = {name: sum((getattr(each, name) for each in summed), start=unscaled(0)) for name in AMOUNTS}
    return by_month, MonthFigures(sum(each.users for each in summed), usage_hash=None, **whole)
