"""A dry run: what a run would write, computed read-only on one snapshot."""

from dataclasses import replace

from jobs.domain.run_report import Report
from jobs.pipeline.batch import Batch
from jobs.pipeline.change_check import check_change
from jobs.pipeline.change_sums import ChangeSums
from jobs.pipeline.cluster_tables import ClusterDeltas
from jobs.pipeline.finalize import Finalized
from jobs.pipeline.finalize_preview import preview
from jobs.pipeline.plan_approval import ADOPTION, ChangeRecorder
from jobs.pipeline.planning import plan_run
from jobs.pipeline.ran_out import write_ran_out
from jobs.pipeline.row_changes import list_adoption
from jobs.pipeline.run_request import RunRequest
from jobs.pipeline.run_summary import summarize
from jobs.pipeline.run_totals import Totals
from jobs.pipeline.shrink_check import check_shrink
from jobs.postgres import adoption, detection
from jobs.postgres.adoption import Adoption
from jobs.postgres.connections import Connection, read_value, transaction
from jobs.postgres.credit_capabilities import find_unusable_accounts
from jobs.postgres.detection import Detected
from jobs.postgres.month_figures import read_month_figures
from jobs.postgres.run_scope import RunScope
from jobs.postgres.source_capabilities import SourceCapabilities
from jobs.postgres.usage_reader import Reader


def compute_dry_run(
    request: RunRequest, link: Connection, source: SourceCapabilities, reader: str
) -> tuple[Report, Totals]:
    """Computes what the run would write. What it would write before the batches is added to what is read.

    ``reader``: "connectorx" or "copy".
    """
    totals = Totals(deltas=ClusterDeltas())
    if request.backfill is not None:
        totals.recorder = ChangeRecorder(request.backfill.limits)
    with transaction(link, snapshot=True) as connection:
        with request.stage("plan"):
            scope, adopted = _plan(connection, request, source, totals)
        with request.stage("detect"):
            is_full = request.full or adopted is not None
            detected = detection.detect(connection, scope, scope.window.months, full=is_full)
            check_shrink(scope, detected, request.allow_shrink)
            totals.ownerless = detected.ownerless
            by_month, whole = read_month_figures(connection, scope, scope.window.months)
            before = Finalized(whole, by_month)
        if scope.covered_to is not None:
            totals.sums = ChangeSums(scope)
        with request.stage("compute and write"):
            _compute_batches(connection, request, scope, reader, detected, totals)
        # A dry run of a backfill, or its approved plan, is looked at by a person: it needs no change check.
        if request.backfill is None or not (request.dry_run or request.backfill.plan):
            check_change(connection, scope, totals.sums, request.allow_change)
        with request.stage("finish"):
            ended = preview(connection, scope, totals, detected, before, full=request.full)
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
    connection: Connection, request: RunRequest, scope: RunScope, reader: str, detected: Detected, totals: Totals
) -> None:
    batch = Batch(scope, _snapshot_reader(connection, request, reader), None)
    for number, users in enumerate(detected.work, start=1):
        totals.add(batch.compute(connection, users))
        request.progress("compute and write", number, len(detected.work))


def _snapshot_reader(connection: Connection, request: RunRequest, kind: str) -> Reader:
    """Returns a reader that reads the snapshot of our transaction."""
    if kind != "connectorx":
        return Reader(kind, request.address)
    return Reader(kind, request.address, read_value(connection, "SELECT pg_export_snapshot()"))
