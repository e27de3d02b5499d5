"""Every chunk once, and those again whose users changed under the run (DESIGN section 7).

Usage may move while a run is at work: a row changes, or goes to another user, between its read and its write. Its
users, those it came from and those it went to, are then read anew under locks, each in the chunk that it belongs to,
before the run adds its cluster figures up: every row counts once, as last read.
"""

from collections.abc import Callable, Iterator, Sequence, Set
from dataclasses import dataclass, field
from functools import partial
from threading import Lock

import polars as pl

from jobs import chunk
from jobs.agreed import part_of
from jobs.chunk import Done, Taken
from jobs.drawing import DisturbedError
from jobs.model.errors import PreflightError
from jobs.model.frames import DRAWS
from jobs.plan import Plan
from jobs.reading import Ledger
from jobs.store.database import Link
from jobs.store.faults import retried
from jobs.store.spill import Chunk, Spill
from jobs.store.team import side_by_side
from jobs.sums import Sums

TRIES = 5
"""How often a chunk is read anew before we believe that its rows cannot be written at all."""


@dataclass(slots=True)
class Chunks:
    """The work of a run between reading and its end. ``pieces``: the chunks; ``ledger``: what is known of it; ``bad``:
    ids of rows that cannot be priced; ``anew``: users that have to be read again."""

    workers: Sequence[Link]
    plan: Plan
    run_id: int | None
    spill: Spill
    sums: Sums
    pieces: Sequence[Chunk]
    ledger: Ledger
    bad: Set[int] = frozenset()
    anew: set[str] = field(default_factory=set)
    _applied: dict[int, frozenset[str]] = field(default_factory=dict)
    _tried: set[int] = field(default_factory=set)
    _shared: Lock = field(default_factory=Lock)

    def run(self, progress: Callable[[str, int, int | None], None]) -> None:
        """All chunks, until no user is left that another chunk's rows have moved to or from."""
        for _ in range(TRIES):
            todo = [
                number for number, piece in enumerate(self.pieces) if self._applied.get(number) != self._members(piece)
            ]
            if not todo:
                return
            for number, members, done in side_by_side(self.workers, self._run, todo):
                self._applied[number] = members
                self.sums.add(number, done)
                self._read_again(self._read_as(done))
                progress("compute and write", len(self._applied), len(self.pieces))
        if any(self._applied[number] != self._members(piece) for number, piece in enumerate(self.pieces)):
            raise _restless(self.anew)

    def _run(self, link: Link, number: int) -> Iterator[tuple[int, frozenset[str], Done]]:
        for _ in range(TRIES):
            members = self._members(self.pieces[number])
            try:
                done = retried(partial(self._try, link, number, members))
            except DisturbedError as disturbed:
                self._read_again(disturbed.users)
                continue
            yield number, members, done
            return
        raise _restless(self.anew)

    def _try(self, link: Link, number: int, members: frozenset[str]) -> Done:
        with self._shared:
            again = number in self._tried
            self._tried.add(number)
        usage, standing, modes, draws = (
            self.spill.take(self.pieces[number], kind) for kind in ("usage", "standing", "modes", "draws")
        )
        if draws is None and self.ledger is not Ledger.UNREAD:
            draws = pl.LazyFrame(schema=DRAWS)
        first = self.ledger is Ledger.EMPTY and not again
        taken = Taken(usage, standing, modes, draws, first, self.bad, again)
        return chunk.run_chunk(link.connection, self.plan, self.run_id, taken, members, partial(self._tell, number))

    def _tell(self, number: int, rows: pl.DataFrame, causes: pl.DataFrame) -> None:
        with self._shared:
            self.sums.told.add(part_of(number), rows, causes)

    def _read_again(self, users: Set[str]) -> None:
        with self._shared:
            self.anew |= users

    def _members(self, piece: Chunk) -> frozenset[str]:
        """Those of the users to be read anew that belong to a chunk."""
        with self._shared:
            anew = sorted(self.anew)
        if not anew:
            return frozenset()
        users = pl.DataFrame({"user_id": anew})
        return frozenset(users.filter(piece.mine())["user_id"])

    def _read_as(self, done: Done) -> set[str]:
        """Whose the rows were that arrived from elsewhere, when they were read first."""
        if not done.arrived:
            return set()
        ids = pl.LazyFrame({"id": sorted(done.arrived)}, schema={"id": pl.UInt128})
        found = (self.spill.take(piece, "usage") for piece in self.pieces)
        owner = pl.col("user_id").cast(pl.String)
        owners = [rows.join(ids, on="id", how="semi").select(owner).collect() for rows in found if rows is not None]
        return set(pl.concat(owners)["user_id"]) if owners else set()


def _restless(users: set[str]) -> PreflightError:
    some = ", ".join(sorted(users)[:3])
    return PreflightError(
        f"usage_daily (total_cost, credits_deducted) of {len(users)} users ({some}) could not be written: expected "
        f"each UPDATE to find the row that was just read and locked; after {TRIES} tries it did not. Look for a "
        "row-level policy without UPDATE for this role, or a trigger that swallows updates; nothing of these users was "
        "written"
    )
