"""Workers: several connections side by side, each in a thread of its own; results arrive in the calling thread."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import suppress
from itertools import islice
from queue import SimpleQueue
from typing import TypeVar

from jobs.domain.errors import PreflightError
from jobs.postgres.connections import ReconnectingConnection
from jobs.postgres.conninfo import Address

T = TypeVar("T")
R = TypeVar("R")


class Workers:
    """The run's own ``link``, and ``others`` that do its batches; without others, ``link`` does them."""

    def __init__(self, link: ReconnectingConnection) -> None:
        self.link = link
        self.others: list[ReconnectingConnection] = []

    @property
    def links(self) -> list[ReconnectingConnection]:
        return self.others or [self.link]

    def grow(self, address: Address, name: str, size: int) -> None:
        """Opens connections for ``size`` workers; fewer if the limit of the server or the role is reached."""
        with suppress(PreflightError):
            while size > 1 and len(self.others) < size:
                self.others.append(ReconnectingConnection(address, name))

    def disconnect(self) -> None:
        """Ends all connections, because the server cannot be reached: no thread waits for an answer then."""
        for link in (self.link, *self.others):
            link.disconnect()

    def __enter__(self) -> "Workers":
        return self

    def __exit__(self, *_: object) -> None:
        for link in self.others:
            link.__exit__()


def run_side_by_side(
    links: Sequence[ReconnectingConnection], work: Callable[[ReconnectingConnection, T], R], items: Iterable[T]
) -> Iterator[R]:
    """Yields the results of ``work(link, item)`` for all ``items`` as they are ready.

    Each link works on one item at a time; a single link works in this thread. Raises what ``work`` raises; then the
    other threads stop, and no link is used again.
    """
    if len(links) == 1:
        for item in items:
            yield work(links[0], item)
        return
    idle: SimpleQueue[ReconnectingConnection] = SimpleQueue()
    for link in links:
        idle.put(link)

    def with_link(item: T) -> R:
        link = idle.get()
        try:
            return work(link, item)
        finally:
            idle.put(link)

    pool, remaining = ThreadPoolExecutor(len(links)), iter(items)

    def submit(count: int) -> set[Future[R]]:
        return {pool.submit(with_link, item) for item in islice(remaining, count)}

    try:
        # At most one task per link, and each result is dropped once it is yielded: this bounds memory.
        pending = submit(len(links))
        while pending:
            done, pending = wait(pending, return_when=FIRST_COMPLETED)
            pending |= submit(len(done))
            while done:
                yield done.pop().result()
    except BaseException:
        for link in links:
            link.retire()
        raise
    finally:
        pool.shutdown(cancel_futures=True)
