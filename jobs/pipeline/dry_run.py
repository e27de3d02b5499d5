"""A dry run: what a run would write, computed read-only on one snapshot."""

from collections import Counter
from dataclasses import replace
from datetime import date
from typing import Any

import polars as pl

from jobs.domain.fixed_point import unscaled
from jobs.domain.run_report import Report
from jobs.pipeline.batches import BatchRunner
from jobs.pipeline.change_check import check_change
from jobs.pipeline.change_sums import ChangeSums
from jobs.pipeline.cluster_tables import ClusterDeltas
from jobs.pipeline.end_changes import compute_end
from jobs.pipeline.finalize import Finalized
from jobs.pipeline.plan_approval import ADOPTION, END, ChangeRecorder
from jobs.pipeline.planning import plan_run
from jobs.pipeline.ran_out import compute_ran_out, write_ran_out
from jobs.pipeline.row_changes import list_adoption
from jobs.pipeline.run_request import RunRequest
from jobs.pipeline.run_summary import summarize
from jobs.pipeline.run_totals import Totals
from jobs.pipeline.shrink_check import check_shrink
from jobs.postgres import adoption, detection
from jobs.postgres.adoption import Adoption
from jobs.postgres.billing_mode_history import pending_query
from jobs.postgres.connections import Connection, read_value, transaction
from jobs.postgres.credit_capabilities import find_unusable_accounts, find_unusable_payers
from jobs.postgres.detection import Detected
from jobs.postgres.month_figures import MonthFigures, read_month_figures
from jobs.postgres.run_scope import RunScope
from jobs.postgres.source_capabilities import SourceCapabilities
from jobs.postgres.usage_reader import Reader, choose_for_rows

AMOUNTS = ("total_cost", "credits_deducted", "uncovered", "amount_due", "amount_reported", "amount_free")


def compute_dry_run(
    request: RunRequest, connection: Connection, source: SourceCapabilities, reader_kind: str
) -> tuple[Report, Totals]:
    """Computes what the run would write. What it would write before the batches is added to what is read.

    ``reader_kind``: "connectorx" or "copy".
    """
    totals = Totals(deltas=ClusterDeltas())
    if request.backfill is not None:
        totals.recorder = ChangeRecorder(request.backfill.limits)
    with transaction(connection, snapshot=True):
        with request.stage("plan"):
            scope, adopted = _plan(connection, request, source, totals)
        with request.stage("detect"):
            is_full = request.full or adopted is not None
            detected = detection.detect(connection, scope, scope.window.months, full=is_full)
            check_shrink(scope, detected, request.allow_shrink)
            totals.ownerless = detected.ownerless
        if scope.covered_to is not None:
            totals.sums = ChangeSums(scope)
        with request.stage("compute and write"):
            _compute_batches(connection, request, scope, reader_kind, detected, totals)
        # A dry run of a backfill, or its approved plan, is looked at by a person: it needs no change check.
        if request.backfill is None or not (request.dry_run or request.backfill.plan):
            check_change(connection, scope, totals.sums, request.allow_change)
        with request.stage("finish"):
            ended = _preview_end(connection, scope, totals, full=request.full)
        if request.ran_out is not None:
            write_ran_out(connection, scope, totals, request.ran_out)
    return summarize(request.seconds, scope, None, totals, ended, adopted), totals


def _plan(
    connection: Connection, request: RunRequest, source: SourceCapabilities, totals: Totals
) -> tuple[RunScope, Adoption | None]:
    """Returns the scope, and the draws of another program that a run would adopt."""
    scope = plan_run(
        connection, request.settings, source, request.asked, trusting=request.trust_ledger, adopting=request.adopt
    )
    adopted = None
    if scope.begins_ledger:
        adopted = adoption.adopt(connection, request.settings, source.credits, logged=False)
    if totals.recorder is not None:
        totals.recorder.add_stage(ADOPTION, list_adoption(adopted))
    totals.unusable = find_unusable_accounts(connection, request.settings, source.credits)
    return replace(scope, adopts=adopted is not None), adopted


def _compute_batches(
    connection: Connection, request: RunRequest, scope: RunScope, reader_kind: str, detected: Detected, totals: Totals
) -> None:
    kind = choose_for_rows(reader_kind, request.settings.reader, detected.work.rows)
    runner = BatchRunner(scope, _snapshot_reader(connection, request, kind), None)
    for number, users in enumerate(detected.work, start=1):
        totals.add(runner.compute(connection, users))
        request.progress("compute and write", number, len(detected.work))


def _snapshot_reader(connection: Connection, request: RunRequest, kind: str) -> Reader:
    """Returns a reader that reads the snapshot of our transaction."""
    if kind != "connectorx":
        return Reader(kind, request.address)
    return Reader(kind, request.address, read_value(connection, "SELECT pg_export_snapshot()"))


def _preview_end(connection: Connection, scope: RunScope, totals: Totals, *, full: bool) -> Finalized:
    """Returns what ``finalize`` would write after the changes in ``totals``."""
    by_month, whole = _predict_figures(connection, scope, totals)
    totals.holding_up = find_unusable_payers(connection, scope.settings, scope.credits, scope.window.closing)
    closing = frozenset[date]() if totals.holding_up or totals.set_aside else scope.window.closing
    changes = compute_end(connection, scope, totals, by_month, closing, full=full)
    pending = connection.execute(pending_query(scope)).fetchall()
    if totals.recorder is not None:
        entries = [entry for entry in pending if entry[0] not in totals.users]
        totals.recorder.add_stage(END, changes.list_changes(entries))
    counts = {name: totals.changed[name] + count for name, count in changes.counts.items()}
    counts["billing_modes"] = len(pending)
    return Finalized(whole, by_month, changes.rows_rejected, counts, closing, changes.waiting)


def _predict_figures(
    connection: Connection, scope: RunScope, totals: Totals
) -> tuple[dict[date, MonthFigures], MonthFigures]:
    """Returns the figures as they would be after the changes of the batches: by month, and of all summed months."""
    stored_figures, _ = read_month_figures(connection, scope, scope.window.months)
    deltas = {month: Counter[str]() for month in scope.window.months}
    for target, stored in totals.month_frames:
        for frame, sign in ((target, 1), (stored, -1)):
            sums = frame.group_by("month").agg(pl.len().alias("users"), pl.col("row_count", *AMOUNTS).sum())
            for row in sums.iter_rows(named=True):
                deltas[row.pop("month")].update({name: sign * (value or 0) for name, value in row.items()})
    by_month = {}
    for month, old in stored_figures.items():
        delta = deltas[month]
        amounts: Any = {name: getattr(old, name) + unscaled(delta[name]) for name in AMOUNTS}
        by_month[month] = MonthFigures(old.users + delta["users"], old.row_count + delta["row_count"], None, **amounts)
    summed = [by_month[month] for month in scope.summed_months]
    whole: Any = {name: sum((getattr(each, name) for each in summed), start=unscaled(0)) for name in AMOUNTS}
    uncovered = compute_ran_out(connection, scope, totals)
    ran_out = uncovered.filter(uncovered["month"].is_in(scope.summed_months))["user_id"].n_unique()
    users = sum(each.users for each in summed)
    return by_month, MonthFigures(users, usage_hash=None, users_ran_out=ran_out, **whole)
