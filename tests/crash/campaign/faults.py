"""What can befall a run: the kinds of faults, when they strike, and what they do."""

import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random

from field import Field
from plays import Play
from wire import Statement, Then, Verdict, Wire

KINDS = ("kill", "term", "stop", "backend", "pooler", "restart", "cut", "lost", "hole")
"""SIGKILL; SIGTERM; SIGSTOP until the lock has fallen; a session of the server ended; the pooler killed; the server
restarted at once; the connection cut before, and after, the server has carried out a COMMIT; every packet swallowed."""
AT_COMMITS = ("cut", "lost")
SIGNALS = {"kill": signal.SIGKILL, "term": signal.SIGTERM, "stop": signal.SIGSTOP}


@dataclass(frozen=True)
class Fault:
    """``number``: of the statement (or the COMMIT) that it strikes at; ``answered``: after the server has carried it
    out; ``away``: pooler, server or network stay away until the command has ended; ``taken_over``: another run does the
    work while the stopped one sleeps."""

    kind: str
    number: int
    answered: bool
    away: bool
    taken_over: bool


def drawn(rng: Random, kind: str, play: Play) -> Fault:
    number = rng.randrange(play.commits if kind in AT_COMMITS else play.statements)
    return Fault(kind, number, rng.random() < 0.5, rng.random() < 0.3, rng.random() < 0.7)


@dataclass
class Strike:
    """A fault about to strike a command: ``hook`` is for the wire that it speaks through.

    ``over``: when (time.monotonic()) the world was as before again; ``told``: where it struck.
    """

    fault: Fault
    where: Field
    wire: Wire
    url: str
    rng: Random
    process: "subprocess.Popen[str] | None" = None
    told: str | None = None
    at: float = 0
    over: float = 0
    struck: threading.Event = field(default_factory=threading.Event)
    _seen: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def replaced(self) -> bool:
        """Whether another run does the work of this one."""
        return self.fault.kind == "stop" and self.fault.taken_over

    def hook(self, statement: Statement) -> Verdict | Then:
        if self.told is not None or (self.fault.kind in AT_COMMITS and statement.text != "COMMIT"):
            return Verdict.PASS
        with self._lock:
            number = self._seen
            self._seen += 1
        if number != self.fault.number:
            return Verdict.PASS
        self.told = f"{statement.connection}.{statement.ordinal}: {' '.join(statement.text.split())[:60]}"
        if self.fault.kind in AT_COMMITS:
            self._now()
            return Verdict.CUT if self.fault.kind == "cut" else Verdict.LOSE
        if self.fault.answered:
            return Then(self._strike)
        self._strike()
        return Verdict.PASS

    def mended(self) -> None:
        """What stayed away is back."""
        if self.told is not None and self.fault.away and self.fault.kind in self._places:
            self._places[self.fault.kind][1]()
            self.over = time.monotonic()

    @property
    def _places(self) -> dict[str, tuple[Callable[[], None], Callable[[], None]]]:
        """How pooler, server and network go away, and come back."""
        return {
            "pooler": (self.where.pool.kill, self.where.pool.start),
            "restart": (self.where.crash, self.where.start),
            "hole": (self.wire.swallow, self.wire.heal),
        }

    def _strike(self) -> None:
        self.at = time.monotonic()
        if self.fault.kind in SIGNALS:
            assert self.process is not None
            os.kill(self.process.pid, SIGNALS[self.fault.kind])
        elif self.fault.kind == "backend":
            self.told = f"{self.told} ({self.where.terminate(self.url, self.rng)})"
        else:
            go, come_back = self._places[self.fault.kind]
            go()
            if not self.fault.away:
                come_back()
        self._now()

    def _now(self) -> None:
        self.at = self.at or time.monotonic()
        self.over = time.monotonic()
        self.struck.set()
