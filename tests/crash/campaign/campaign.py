"""Many episodes, in lanes side by side: each lane has a server and a pooler of its own to strike down."""

import json
import tempfile
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path

from conftest import MEMORY
from episode import Outcome, played
from field import Field
from field import field as a_field


@dataclass
class Campaign:
    """Episodes from ``first_seed`` on until ``faults`` have struck; those in ``log`` count, and are not repeated."""

    faults: int
    first_seed: int = 0
    workers: int = 2
    log: Path | None = None
    say: Callable[[str], None] = lambda _line: None
    outcomes: list[Outcome] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _begun: set[int] = field(default_factory=set)

    def __post_init__(self) -> None:
        if self.log is not None and self.log.exists():
            self.outcomes = [Outcome(**json.loads(line)) for line in self.log.read_text().splitlines()]
            self._begun = {outcome.seed for outcome in self.outcomes}

    def run(self, lanes: int) -> list[Outcome]:
        if self._struck() >= self.faults:
            return self.outcomes
        with ExitStack() as stack, ThreadPoolExecutor(lanes) as threads:
            fields = [stack.enter_context(a_field(self._room(stack), self.workers)) for _ in range(lanes)]
            lanes_at_work = [threads.submit(self._lane, one) for one in fields]
            try:
                for lane in lanes_at_work:
                    lane.result()
            finally:
                self.faults = 0  # Ctrl-C, or a lane that failed: the others end with the episode at hand
        return self.outcomes

    def replay(self, seed: int) -> Outcome:
        with ExitStack() as stack:
            outcome = played(stack.enter_context(a_field(self._room(stack), self.workers)), seed)
        for fault in outcome.faults:
            self.say(json.dumps(fault, indent=2))
        return outcome

    def _struck(self) -> int:
        return sum(len(outcome.faults) for outcome in self.outcomes)

    def _room(self, stack: ExitStack) -> Path:
        parent = MEMORY if MEMORY.is_dir() else None
        return Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="usage-jobs-campaign-", dir=parent))) / "s"

    def _lane(self, where: Field) -> None:
        while (seed := self._next()) is not None:
            began = time.monotonic()
            try:
                outcome = played(where, seed)
            except Exception as error:  # the episode's own trouble is told like the command's
                outcome = Outcome(seed, "?", problems=[f"the episode failed: {type(error).__name__}: {error}"])
                self._keep(outcome, time.monotonic() - began)
                raise
            self._keep(outcome, time.monotonic() - began)

    def _next(self) -> int | None:
        with self._lock:
            if self._struck() >= self.faults:
                return None
            seed = next(n for n in range(self.first_seed, self.first_seed + 10**9) if n not in self._begun)
            self._begun.add(seed)
            return seed

    def _keep(self, outcome: Outcome, seconds: float) -> None:
        with self._lock:
            self.outcomes.append(outcome)
            if self.log is not None:
                with self.log.open("a") as file:
                    file.write(json.dumps(asdict(outcome)) + "\n")
            struck = ", ".join(f"{fault['kind']} at {fault['told']} → {fault['code']}" for fault in outcome.faults)
            recovery = "" if outcome.recovery is None else f"recovered in {outcome.recovery:.1f} s"
            self.say(f"seed {outcome.seed} {outcome.play}: {struck or 'nothing struck'} {recovery} ({seconds:.0f} s)")
            for problem in outcome.problems:
                self.say(f"  PROBLEM {problem}")
