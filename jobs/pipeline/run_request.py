"""What a run is asked to do."""

from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from time import perf_counter

from jobs.domain.backfill_request import Backfill
from jobs.domain.check_tokens import LargeChange, Shrink
from jobs.postgres.conninfo import Address
from jobs.settings import Settings

Progress = Callable[[str, int, int | None], None]
"""Called with the name of a stage, how much of it is done, and how much there is (None: unknown)."""


@dataclass(frozen=True, slots=True)
class RunRequest:
    """A request for a run: `run --date day`, or a backfill.

    - ``full``: all users are recomputed, and the cluster tables regrouped;
    - ``allow_shrink``, ``allow_change``: what the shrink check and the change check let pass;
    - ``trust_ledger``, ``adopt``: users with unexplained credits for whom the ledger, or the rows, are right;
    - ``ran_out``: the file for users whose prepaid usage no credit covers; these are named nowhere else;
    - ``who``: for the run log; ``seconds``: by stage, filled by ``stage``.
    """

    settings: Settings
    address: Address
    day: date | None = None
    backfill: Backfill | None = None
    full: bool = False
    dry_run: bool = False
    allow_shrink: Collection[Shrink] = ()
    trust_ledger: Collection[str] = ()
    adopt: Collection[str] = ()
    allow_change: Collection[LargeChange] = ()
    ran_out: Path | None = None
    who: str | None = None
    progress: Progress = lambda _stage, _done, _of: None
    seconds: dict[str, float] = field(default_factory=dict)

    @property
    def asked(self) -> date | Backfill | None:
        return self.backfill or self.day

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Reports the start of a stage, and measures its time."""
        started = perf_counter()
        self.progress(name, 0, None)
        yield
        self.seconds[name] = self.seconds.get(name, 0) + perf_counter() - started
