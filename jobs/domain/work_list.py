"""The users whom a run recomputes, cut into batches: by the rows that these read (``batch_rows``: memory), and by those
that they may write (``batch_writes``: an application's transaction waits for one batch at most)."""

from collections.abc import Iterator
from dataclasses import dataclass, field

NUL = "\0"
"""No text of PostgreSQL has this character."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What a batch reads (``rows``) and may write to usage_daily (``writes``) at most; one user may be more."""

    rows: int
    writes: int


@dataclass(slots=True)
class WorkList:
    """Users in the order in which they are added, with their ``rows`` in all months in question. Iterates over the
    users of each batch.

    A batch is kept as one text: a million ids take 40 MB so, and 100 MB as strings of their own.
    """

    limits: Limits
    users: int = 0
    rows: int = 0
    _batches: list[str] = field(default_factory=list)
    _batch: list[str] = field(default_factory=list)
    _reads: int = 0
    _writes: int = 0

    def add(self, user: str, rows: int, writes: int) -> None:
        """Adds a user; ``writes``: how many of his ``rows`` a batch may write."""
        if self._reads + rows > self.limits.rows or self._writes + writes > self.limits.writes:
            self._end_batch()
        self._batch.append(user)
        self._reads, self._writes = self._reads + rows, self._writes + writes
        self.users, self.rows = self.users + 1, self.rows + rows

    def _end_batch(self) -> None:
        if self._batch:
            self._batches.append(NUL.join(self._batch))
        self._batch, self._reads, self._writes = [], 0, 0

    def __len__(self) -> int:
        """How many batches there are."""
        return len(self._batches) + bool(self._batch)

    def __iter__(self) -> Iterator[list[str]]:
        for batch in self._batches:
            yield batch.split(NUL)
        if self._batch:
            yield self._batch.copy()
