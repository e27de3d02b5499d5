"""The work list: the users whom a run recomputes, divided into batches.

Two settings limit a batch: ``batch_rows``, the rows that it reads (memory), and ``batch_writes``, the rows that it may
write (how long the application may have to wait for its locks).
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

NUL = "\0"
"""A separator: no text value in PostgreSQL contains this character."""


@dataclass(frozen=True, slots=True)
class BatchLimits:
    """The most usage rows that a batch reads (``rows``) and may write (``writes``). A single user may exceed both."""

    rows: int
    writes: int


@dataclass(slots=True)
class WorkList:
    """Users in the order in which they are added; iterating yields the users of each batch.

    ``user_count``: how many users. ``rows``: how many usage rows they have in the months of the run. A batch is stored
    as one string: a million ids take 40 MB, and would take 100 MB as separate strings.
    """

    limits: BatchLimits
    user_count: int = 0
    rows: int = 0
    _batches: list[str] = field(default_factory=list)
    _batch: list[str] = field(default_factory=list)
    _reads: int = 0
    _writes: int = 0

    def add(self, user: str, rows: int, writes: int) -> None:
        """Adds a user with ``rows`` usage rows, of which a batch may write up to ``writes``."""
        if self._reads + rows > self.limits.rows or self._writes + writes > self.limits.writes:
            self._end_batch()
        self._batch.append(user)
        self._reads, self._writes = self._reads + rows, self._writes + writes
        self.user_count, self.rows = self.user_count + 1, self.rows + rows

    def _end_batch(self) -> None:
        if self._batch:
            self._batches.append(NUL.join(self._batch))
        self._batch, self._reads, self._writes = [], 0, 0

    def __len__(self) -> int:
        """The number of batches."""
        return len(self._batches) + bool(self._batch)

    def __iter__(self) -> Iterator[list[str]]:
        for batch in self._batches:
            yield batch.split(NUL)
        if self._batch:
            yield self._batch.copy()
