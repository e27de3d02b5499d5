"""Batches of a run: the whole work list, and at the end, one by one, the users who were skipped."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial

from jobs.domain.errors import RefusedError
from jobs.domain.work_list import WorkList
from jobs.pipeline.batch_runner import BatchResult, BatchRunner
from jobs.pipeline.run_totals import Totals
from jobs.pipeline.workers import run_side_by_side
from jobs.postgres.connections import ReconnectingConnection
from jobs.postgres.errors import retry

PASSES = 3
"""How often the skipped users are tried one by one. Users who are locked for longer are left to the next run."""
MOST_SET_ASIDE = 20
"""How many users the application's tables may refuse before the run ends: then the cause is not in single users."""


def run_batches(
    links: Sequence[ReconnectingConnection],
    runner: BatchRunner,
    work: WorkList,
    totals: Totals,
    progress: Callable[[str, int, int | None], None],
) -> None:
    """Computes and writes all users of ``work``, and adds the results to ``totals``.

    Users who stay locked are in ``totals.skipped``, users who cannot be written in ``totals.set_aside``. Raises
    RefusedError if these are too many.
    """

    def run_one(link: ReconnectingConnection, numbered: tuple[int, list[str]]) -> list[BatchResult]:
        number, users = numbered
        results = []
        for result in _run_or_split(link, replace(runner, batch_number=number), users):
            results.append(result)
            _check_refused([each.refused for each in results if each.refused is not None])
        return results

    for number, results in enumerate(run_side_by_side(links, run_one, enumerate(work)), start=1):
        for result in results:
            totals.add(result)
        _check_refused([reason for user, reason in totals.set_aside.items() if user not in totals.unexplained])
        progress("compute and write", number, len(work))
    single_runner = replace(runner, batch_number=len(work))
    for _ in range(PASSES):
        for user in sorted(totals.skipped):
            totals.add(retry(partial(_run_single, links[0], single_runner, user)))
        if not totals.skipped:
            return


def _check_refused(reasons: Sequence[str]) -> None:
    if len(reasons) > MOST_SET_ASIDE:
        raise RefusedError(
            f"more than {MOST_SET_ASIDE} users cannot be written; the last one because of: {reasons[-1]}"
        )


def _run_or_split(link: ReconnectingConnection, runner: BatchRunner, users: Sequence[str]) -> Iterator[BatchResult]:
    """Runs a batch. If it fails, runs its two halves, until the user who is the cause is alone."""
    result = retry(lambda: runner.run(link.connection, users))
    if not result.failed or len(users) == 1:
        yield result
        return
    middle = len(users) // 2
    for half in (users[:middle], users[middle:]):
        yield from _run_or_split(link, runner, half)


def _run_single(link: ReconnectingConnection, runner: BatchRunner, user: str) -> BatchResult:
    return runner.run_single(link.connection, user)
