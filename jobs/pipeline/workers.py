"""Several connections at work side by side, each in a thread of its own; what they find comes out in one."""

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
    """The run's own ``link``, and ``others`` beside it that do its batches: none where it works alone."""

    def __init__(self, link: ReconnectingConnection) -> None:
        self.link = link
        self.others: list[ReconnectingConnection] = []

    @property
    def links(self) -> list[ReconnectingConnection]:
        return self.others or [self.link]

    def grow(self, address: Address, name: str, size: int) -> None:
        """Connections for ``size`` workers; fewer where the server, or the role, has no more to give."""
        with suppress(PreflightError):
            while 1 < size > len(self.others):
                self.others.append(ReconnectingConnection(address, name))

    def lost(self) -> None:
        """The way to the server is dead: nobody need wait for an answer."""
        for link in (self.link, *self.others):
            link.lost()

    def __enter__(self) -> "Workers":
        return self

    def __exit__(self, *_: object) -> None:
        for link in self.others:
            link.__exit__()


def run_side_by_side(
    links: Sequence[ReconnectingConnection], work: Callable[[ReconnectingConnection, T], R], items: Iterable[T]
) -> Iterator[R]:
    """What ``work(link, item)`` returns, of all items, as it comes; each link works on one item at a time.

    A single link works in this thread. Raises what a work raises; the others then stop, and their links for good.
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

    pool, left = ThreadPoolExecutor(len(links)), iter(items)

    def submit(count: int) -> set[Future[R]]:
        return {pool.submit(with_link, item) for item in islice(left, count)}

    try:
        # Never more under way than links: what was found is let go as soon as it was taken.
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
