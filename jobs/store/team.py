"""Several connections at work side by side, each with a thread of its own; what they find comes out in one."""

import threading
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import suppress
from queue import Queue
from typing import Generic, TypeVar

from jobs.model.errors import PreflightError
from jobs.store.address import Address
from jobs.store.database import Link

T = TypeVar("T")
R = TypeVar("R")
AHEAD = 2
"""So much of what a connection has found may wait to be taken; then it waits itself, so that memory is bounded."""


class Team:
    """The run's own ``link``, and ``others`` beside it that do its work: none where it works alone."""

    def __init__(self, link: Link) -> None:
        self.link = link
        self.others: list[Link] = []

    @property
    def workers(self) -> list[Link]:
        return self.others or [self.link]

    def grow(self, address: Address, name: str, size: int) -> None:
        """Connections for ``size`` workers; fewer where the server, or the role, has no more to give."""
        with suppress(PreflightError):
            while 1 < size > len(self.others):
                self.others.append(Link(address, name))

    def lost(self) -> None:
        """The way to the server is dead: nobody need wait for an answer."""
        for link in (self.link, *self.others):
            link.lost()

    def __enter__(self) -> "Team":
        return self

    def __exit__(self, *_: object) -> None:
        for link in self.others:
            link.__exit__()


def side_by_side(
    links: Sequence[Link], work: Callable[[Link, T], Iterator[R]], items: Iterable[T]
) -> Generator[R, None, None]:
    """What ``work(link, item)`` yields, of all items, as it comes; each link works on one item at a time.

    A single link works in this thread. Raises what a work raises, once the others have stopped; whoever stops taking
    stops them all, and their links for good.
    """
    if len(links) == 1:
        for item in items:
            yield from work(links[0], item)
        return
    crew = _Crew(links, work, items)
    try:
        yield from crew.found()
    finally:
        crew.dismiss()


class _Crew(Generic[T, R]):
    def __init__(self, links: Sequence[Link], work: Callable[[Link, T], Iterator[R]], items: Iterable[T]) -> None:
        self._links, self._work, self._items = links, work, iter(items)
        self._next, self._over = threading.Lock(), threading.Event()
        self._queue: Queue[tuple[R] | BaseException | None] = Queue(AHEAD * len(links))
        self._threads = [threading.Thread(target=self._run, args=(link,), daemon=True) for link in links]
        self._at_work = len(links)

    def found(self) -> Iterator[R]:
        for thread in self._threads:
            thread.start()
        failed: BaseException | None = None
        while self._at_work:
            told = self._queue.get()
            if isinstance(told, tuple):
                yield told[0]
                continue
            self._at_work -= 1
            failed = failed or told
        if failed is not None:
            raise failed

    def dismiss(self) -> None:
        if not self._at_work:
            return
        self._over.set()
        for link in self._links:
            link.retire()
        while self._at_work:  # also lets those go on who wait for somebody to take what they have found
            self._at_work -= not isinstance(self._queue.get(), tuple)

    def _run(self, link: Link) -> None:
        told: BaseException | None = None
        try:
            while (taken := self._take()) is not None:
                for found in self._work(link, taken[0]):
                    self._queue.put((found,))
                    if self._over.is_set():
                        return
        except BaseException as error:
            told = error
            self._over.set()
        finally:
            self._queue.put(told)

    def _take(self) -> tuple[T] | None:
        with self._next:
            for item in self._items:
                return None if self._over.is_set() else (item,)
        return None
