"""Rows as the spill has them, by bucket: a block in memory, a piece of a file."""

from dataclasses import dataclass
from io import BufferedWriter
from itertools import accumulate
from pathlib import Path

import polars as pl

BUCKETS = 512
"""Pieces of a file. A chunk is several buckets, or a part of one where a bucket alone exceeds its limit: its rows are
then read once for each part, and of 30 million rows in 256 buckets each was. More of them make each piece dearer."""
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
    """Rows of a bucket: which file of its kind they are in, and where; ``coded``: columns of categoricals.

    Of these the file has the codes alone, which this process knows: with their texts beside each piece, it takes twice
    as long to write, and three times as long to read.
    """

    number: int
    start: int
    size: int
    path: Path
    coded: tuple[str, ...]

    @classmethod
    def written(cls, rows: pl.DataFrame, number: int, file: BufferedWriter) -> "Piece":
        """``rows`` at the end of the file of this ``number``."""
        start, coded = file.tell(), tuple(name for name, kind in rows.schema.items() if kind == pl.Categorical)
        rows.with_columns(pl.col(coded).to_physical()).write_ipc(file, compression="lz4")
        return cls(number, start, file.tell() - start, Path(file.name), coded)

    def read(self) -> pl.DataFrame:
        with self.path.open("rb") as file:
            file.seek(self.start)
            rows = pl.read_ipc(file.read(self.size))
        return rows.with_columns(pl.col(self.coded).cat.to(pl.Categorical))
