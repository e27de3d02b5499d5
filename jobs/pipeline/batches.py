"""Does the work list of a run, batch by batch; and at the end, one at a time, the users who left theirs."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial

from jobs.domain.errors import RefusedError
from jobs.domain.work_list import WorkList
from jobs.pipeline.batch import Batch, BatchResult
from jobs.pipeline.run_totals import Totals
from jobs.pipeline.workers import run_side_by_side
from jobs.postgres.connections import ReconnectingConnection
from jobs.postgres.errors import retry

PASSES = 3
"""How often the users who left their batch are tried one after another. Whoever is locked so long is the next run's."""
MOST_SET_ASIDE = 20
"""Users whom a run may set aside: where the application's tables refuse more, it is not the trouble of single users."""


def run_batches(
    links: Sequence[ReconnectingConnection],
    batch: Batch,
    work: WorkList,
    totals: Totals,
    progress: Callable[[str, int, int | None], None],
) -> None:
    """Does the whole ``work``; who could not be had stays in ``totals.left``, of whom nothing can be written in
    ``totals.set_aside``. Raises RefusedError where these are too many."""

    def done(link: ReconnectingConnection, part: tuple[int, list[str]]) -> list[BatchResult]:
        number, users = part
        results = []
        for result in _run(link, replace(batch, number=number), users):
            results.append(result)
            _check_refused([found.refused for found in results if found.refused is not None])
        return results

    for number, results in enumerate(run_side_by_side(links, done, enumerate(work)), start=1):
        for result in results:
            totals.add(result)
        _check_refused([reason for user, reason in totals.set_aside.items() if user not in totals.foreign])
        progress("compute and write", number, len(work))
    alone = replace(batch, number=len(work))
    for _ in range(PASSES):
        for user in sorted(totals.left):
            totals.add(retry(partial(_single, links[0], alone, user)))
        if not totals.left:
            return


def _check_refused(reasons: Sequence[str]) -> None:
    if len(reasons) > MOST_SET_ASIDE:
        raise RefusedError(f"of more than {MOST_SET_ASIDE} users nothing can be written; of the last: {reasons[-1]}")


def _run(link: ReconnectingConnection, batch: Batch, users: Sequence[str]) -> Iterator[BatchResult]:
    """A batch; where it failed and the user who is the cause is not known, its halves, until that user is alone."""
    result = retry(lambda: batch.run(link.connection, users))
    if not result.failed or len(users) == 1:
        yield result
        return
    middle = len(users) // 2
    for half in (users[:middle], users[middle:]):
        yield from _run(link, batch, half)


def _single(link: ReconnectingConnection, batch: Batch, user: str) -> BatchResult:
    return batch.run_single(link.connection, user)
