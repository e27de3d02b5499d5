"""One episode of the campaign: a command on a copy of its database, one fault or two, recovery, and judgement."""

import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from random import Random
from typing import Any

from faults import KINDS, Strike, drawn
from field import Field
from killing import command, differing, released
from plays import DONE, Play, stored, torn, unfinished
from wire import Statement, Then, Verdict, Wire

from jobs.audit.reconcile import reconcile
from jobs.postgres.conninfo import Address

DEADLINE = 240
"""Seconds after which a command that still lives hangs: its retries end 120 s after the first error, a new connection
takes 12 s at most, and the server ends a silent guard after 60 s."""
TWICE = 0.2
"""How often the command that is to mend things is struck itself."""
ALLOWED = {
    "kill": (-signal.SIGKILL, *DONE),
    "term": (128 + signal.SIGTERM, *DONE),
    "stop": (4, 5, *DONE),
}
"""Exit codes by what struck; all others end by going on, or by saying what is wrong."""


@dataclass
class Outcome:
    """``faults``: what struck, where, how the command ended and how long it took to; ``recovery``: seconds from the
    end of the last fault until everything was done; ``problems``: what should not be."""

    seed: int
    play: str
    faults: list[dict[str, Any]] = field(default_factory=list)
    recovery: float | None = None
    problems: list[str] = field(default_factory=list)


def played(where: Field, seed: int) -> Outcome:
    """The episode of this seed, which decides everything in it but the timing."""
    rng = Random(seed)
    play = rng.choice(where.plays)
    kinds = [KINDS[seed % len(KINDS)]] + ([rng.choice(KINDS)] if rng.random() < TWICE else [])
    faults = [drawn(rng, kind, play) for kind in kinds]
    outcome = Outcome(seed, play.name)
    url = where.copy(play)
    strikes: list[Strike] = []

    def hook(statement: Statement) -> Verdict | Then:
        return strikes[-1].hook(statement) if strikes else Verdict.PASS

    with tempfile.TemporaryDirectory() as scratch, Wire(where.pool.url(url), hook) as wire:
        episode = _Episode(where, play, url, wire, Path(scratch), outcome)
        for fault in faults:
            strikes.append(Strike(fault, where, wire, url, rng))
            episode.struck(strikes[-1])
        strikes.clear()
        episode.judged()
    where.drop(url)
    return outcome


@dataclass
class _Episode:
    field: Field
    play: Play
    url: str
    wire: Wire
    scratch: Path
    outcome: Outcome

    def struck(self, strike: Strike) -> None:
        """The command, the fault, and whatever it takes until everything is done."""
        with self._begun() as process:
            strike.process = process
            said = self._slept(strike, process) if strike.fault.kind == "stop" else self._ended(process)
        ended = time.monotonic()
        strike.mended()
        if strike.told is None:
            return  # a command that had less to do than the first one never came to its statement
        self._note(strike, process.returncode, ended, said)
        if process.returncode in DONE:
            self.outcome.recovery = self.outcome.recovery if strike.replaced else max(0.0, ended - strike.over)
        elif not strike.replaced:
            self._recovered(strike)

    def judged(self) -> None:
        """In the end: all as if undisturbed, no invariant broken, nothing left."""
        problems = self.outcome.problems
        problems += differing(stored(self.url), self.play.after)[:5]
        checks = reconcile(self.play.settings, Address(self.url), None, None)
        problems += [
            f"invariant {check.title} is broken: {check.left} and {check.right}" for check in checks if check.broken
        ]
        if unfinished(self.url):
            problems.append("the run log does not end in done, or holds a run that still runs")
        problems += [f"left behind: {path.name}" for path in self.scratch.iterdir()]

    def _recovered(self, strike: Strike) -> None:
        """Another command, as soon as the lock is free, does what is left."""
        released(self.url)
        found = torn(stored(self.url), self.play.states)
        if found:
            self.outcome.problems.append(f"law 7: neither as before nor as after: {found}")
        with self._begun() as process:
            said = self._ended(process)
        if process.returncode not in DONE:
            self.outcome.problems.append(f"no recovery, exit {process.returncode}: {said}")
        self.outcome.recovery = time.monotonic() - strike.over

    def _slept(self, strike: Strike, process: "subprocess.Popen[str]") -> str:
        """Stopped until its lock has fallen; then another run does its work, or it goes on itself."""
        while not strike.struck.wait(0.2) and process.poll() is None:
            pass
        if strike.told is not None:
            released(self.url)
            strike.over = time.monotonic()
            if strike.replaced:
                self._recovered(strike)
            process.send_signal(signal.SIGCONT)
        return self._ended(process)

    def _note(self, strike: Strike, code: int, ended: float, said: str) -> None:
        took = round(ended - strike.at, 2)
        self.outcome.faults.append(
            asdict(strike.fault) | {"told": strike.told, "code": code, "took": took, "said": said.strip()[-300:]}
        )
        if code not in ALLOWED.get(strike.fault.kind, (4, 5, *DONE)):
            self.outcome.problems.append(f"{strike.fault.kind}: exit {code}: {said}")
        if "Traceback" in said:
            self.outcome.problems.append(f"{strike.fault.kind}: a traceback: {said}")

    @contextmanager
    def _begun(self) -> "Iterator[subprocess.Popen[str]]":
        variables = {**self.play.variables, "TMPDIR": str(self.scratch)}
        process = command(self.wire.url, *self.play.words, **variables)
        try:
            yield process
        finally:
            if process.poll() is None:
                process.kill()
                process.communicate()

    def _ended(self, process: "subprocess.Popen[str]") -> str:
        try:
            return process.communicate(timeout=DEADLINE)[0]
        except subprocess.TimeoutExpired:
            self.outcome.problems.append(f"a hang: it still lived after {DEADLINE} s")
            os.kill(process.pid, signal.SIGKILL)
            return process.communicate()[0]
