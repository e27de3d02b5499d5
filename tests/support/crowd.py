"""Processes that begin the same run of the same database at the same moment, again and again."""

import multiprocessing
import os
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from multiprocessing.synchronize import Barrier

import night as world
from ways import job_url

import jobs.pipeline.run
from jobs.domain.errors import LockedError

TRIES = 3
"""How often a worker without a guard begins, at most: for ever, and all would fence each other out for ever."""
PATIENCE = 300
"""Seconds after which those who wait at the barrier take the others for dead."""


class Crowd:
    """Started once, as importing the job takes longer than a run of it; a context manager that ends them."""

    def __init__(self, size: int, *, guarded: bool) -> None:
        context = multiprocessing.get_context("spawn")
        self._barrier = barrier = context.Barrier(size)  # held: it goes with the last who knows it
        os.environ["POLARS_MAX_THREADS"] = "1"  # sixteen pools of threads would be all that the machine does
        self._members: list[tuple[BaseProcess, Connection]] = []
        for _ in range(size):
            ours, theirs = context.Pipe()
            process = context.Process(target=_member, args=(theirs, barrier, guarded), daemon=True)
            process.start()
            theirs.close()
            self._members.append((process, ours))
        del os.environ["POLARS_MAX_THREADS"]

    def __enter__(self) -> "Crowd":
        return self

    def __exit__(self, *_: object) -> None:
        for process, pipe in self._members:
            pipe.close()
            process.join()
            process.close()

    def run(self, url: str) -> Counter[str]:
        """How all their runs ended: "done", "LockedError", or the error in full."""
        address = job_url(url, world.settings)  # here: the members know of no way
        for _, pipe in self._members:
            pipe.send(address)
        return Counter(pipe.recv() for _, pipe in self._members)


@contextmanager
def unguarded(*_: object, **_more: object) -> Iterator[None]:
    """In the guard's place: everybody gets in."""
    yield


def _member(pipe: Connection, barrier: Barrier, guarded: bool) -> None:
    if not guarded:
        setattr(jobs.pipeline.run, "hold_run_lock", unguarded)  # noqa: B010 - a name that the module does not offer
    try:
        while url := pipe.recv():
            barrier.wait(PATIENCE)
            pipe.send(_outcome(url, tries=1 if guarded else TRIES))
    except EOFError:
        pass  # the test is over


def _outcome(url: str, tries: int) -> str:
    """How the run ended; who was fenced out comes back, so that runs begin in the midst of others."""
    try:
        world.run(url)
    except LockedError:
        return _outcome(url, tries - 1) if tries > 1 else "LockedError"
    except BaseException as error:
        return f"{type(error).__name__}: {error}"
    return "done"
