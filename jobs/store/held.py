"""Rows as the spill has them, by bucket: a block in memory, a piece of a file."""

from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path

import polars as pl

BUCKETS = 256
"""Pieces of a file. A chunk is several buckets, or a part of one where a bucket alone exceeds its limit."""
BUCKET = "bucket of the spill"


@dataclass(frozen=True, slots=True)
class Block:
    """Rows sorted by buckets, within a bucket as they came; ``ends``: where each bucket ends."""

    rows: pl.DataFrame
    ends: list[int]

    @classmethod
    def of(cls, frames: list[pl.DataFrame]) -> "Block":
        rows = pl.concat(frames).sort(BUCKET, maintain_order=True)
        sizes = dict(rows.group_by(BUCKET).len().iter_rows())
        return cls(rows.drop(BUCKET), list(accumulate(sizes.get(bucket, 0) for bucket in range(BUCKETS))))

    def slice(self, first: int, last: int) -> pl.DataFrame:
        """The rows of the buckets from ``first`` to ``last``."""
        start = self.ends[first - 1] if first else 0
        return self.rows.slice(start, self.ends[last] - start)


def runs(buckets: tuple[int, ...]) -> list[tuple[int, int]]:
    """The first and the last of each run of buckets: usually there is one."""
    firsts = [bucket for bucket in buckets if bucket - 1 not in buckets]
    lasts = [bucket for bucket in buckets if bucket + 1 not in buckets]
    return list(zip(firsts, lasts, strict=True))


@dataclass(frozen=True, order=True)
class Piece:
    """Rows of a bucket: which file of its kind they are in, and where."""

    number: int
    start: int
    size: int
    path: Path

    def read(self) -> pl.DataFrame:
        with self.path.open("rb") as file:
            file.seek(self.start)
            return pl.read_ipc(file.read(self.size))
