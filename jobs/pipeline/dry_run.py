"""A dry run: what a run would write, computed read-only on one snapshot."""

from dataclasses import replace
from typing import TYPE_CHECKING

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
from jobs.pipeline.run_summary import summarize
from jobs.pipeline.run_totals import Totals
from jobs.pipeline.shrink_check import check_shrink
from jobs.postgres import adoption, detection
from jobs.postgres.adoption import Adoption
from jobs.postgres.connections import Connection, transaction
from jobs.postgres.credit_capabilities import find_unusable_accounts
from jobs.postgres.detection import Detected
from jobs.postgres.month_figures import read_month_figures
from jobs.postgres.preflight import SourceCapabilities
from jobs.postgres.run_scope import RunScope
from jobs.postgres.usage_reader import Reader

if TYPE_CHECKING:
    from jobs.pipeline.run import RunRequest


def compute_dry_run(
    job: "RunRequest", link: Connection, source: SourceCapabilities, reader: str
) -> tuple[Report, Totals]:
    """Computes what the run would write. What it would write before the batches is added to what is read.

    ``reader``: "connectorx" or "copy".
    """
    totals = Totals(deltas=ClusterDeltas())
    if job.backfill is not None:
        totals.recorder = ChangeRecorder(job.backfill.limits)
    with transaction(link, snapshot=True) as connection:
        with job.stage("plan"):
            scope, adopted = _plan(connection, job, source, totals)
        with job.stage("detect"):
            is_full = job.full or adopted is not None
            detected = detection.detect(connection, scope, scope.window.months, full=is_full)
            check_shrink(scope, detected, job.allow_shrink)
            totals.ownerless = detected.ownerless
            by_month, whole = read_month_figures(connection, scope, scope.window.months)
            before = Finalized(whole, by_month)
        if scope.covered_to is not None:
            totals.sums = ChangeSums(scope)
        with job.stage("compute and write"):
            _compute_batches(connection, job, scope, reader, detected, totals)
        # A dry run of a backfill, or its approved plan, is looked at by a person: it needs no change check.
        if job.backfill is None or not (job.dry_run or job.backfill.plan):
            check_change(connection, scope, totals.sums, job.allow_change)
        with job.stage("finish"):
            ended = preview(connection, scope, totals, detected, before, full=job.full)
        if job.ran_out is not None:
            write_ran_out(connection, scope, totals, job.ran_out)
    return summarize(job.seconds, scope, None, totals, ended, adopted), totals


def _plan(
    connection: Connection, job: "RunRequest", source: SourceCapabilities, totals: Totals
) -> tuple[RunScope, Adoption | None]:
    """Returns the plan, and the draws of another program that a run would adopt."""
    scope = plan_run(connection, job.settings, source, job.asked, trusting=job.trust_ledger, adopting=job.adopt)
    adopted = None
    if scope.begins_ledger:
        adopted = adoption.adopt(connection, job.settings, source.credits, logged=False)
    if totals.recorder is not None:
        totals.recorder.add_stage(ADOPTION, list_adoption(adopted))
    totals.unusable = find_unusable_accounts(connection, job.settings, source.credits)
    return replace(scope, adopts=adopted is not None), adopted


def _compute_batches(
    connection: Connection, job: "RunRequest", scope: RunScope, reader: str, detected: Detected, totals: Totals
) -> None:
    batch = Batch(scope, _snapshot_reader(connection, job, reader), None)
    for number, users in enumerate(detected.work, start=1):
        totals.add(batch.compute(connection, users))
        job.progress("compute and write", number, len(detected.work))


def _snapshot_reader(connection: Connection, job: "RunRequest", kind: str) -> Reader:
    """Returns a reader that reads the snapshot of our transaction."""
    if kind != "connectorx":
        return Reader(kind, job.address)
    row = connection.execute("SELECT pg_export_snapshot()").fetchone()
    return Reader(kind, job.address, None if row is None else str(row[0]))
