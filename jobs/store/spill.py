"""What exceeds memory goes to local files by a hash of the user, and comes back as chunks: some users, all rows.

A run reads usage in the table's order, where the rows of a user lie far apart; every further pass would cost a
scan. Up to ``limit`` rows (and HELD_ROWS) stay in memory and nothing is written. Users are best given as categoricals:
four bytes a row.
"""

import os
import re
import shutil
import tempfile
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType

import polars as pl

from jobs.store.held import BUCKET, BUCKETS, Block, Piece, runs

PREFIX = "usage-jobs-spill-"
HELD_ROWS = 3_600_000
"""Rows held in memory, where the settings allow as many."""
LOOSE_ROWS = 250_000
"""Rows that wait to be sorted by buckets together: a chunk's rows are then one slice of each block."""
CHUNK_ROWS, AT_WORK_ROWS = 100_000, 200_000
"""Rows of a chunk, and of all chunks that are at work at a time; chunks twice as large were hardly faster."""
BYTES_HELD, BYTES_AT_WORK, BYTES_OF_PYTHON = 110, 1_600, 190 * 2**20
"""What a row takes while it is held (a wider one counts as several), and in a chunk whose rows are all written; the
process by itself. Measured on 3 million rows."""


def chunk_rows(limit: int, workers: int) -> int:
    """Rows of a chunk where so many are at work; ``limit``: what the settings allow."""
    return max(1, min(limit, CHUNK_ROWS, AT_WORK_ROWS // workers))


@dataclass(frozen=True, slots=True)
class Chunk:
    """Some users: those whose hash falls in ``buckets`` and, where a bucket is split, in its ``part``."""

    buckets: tuple[int, ...]
    part: int = 0
    parts: int = 1

    def mine(self) -> pl.Expr:
        bucket, rest = _user_hash() % BUCKETS, _user_hash() // BUCKETS
        return bucket.is_in(self.buckets) & (rest % self.parts == self.part)


def _user_hash() -> pl.Expr:
    # Of the text: what codes users get is chance. Only with one version of polars do two hashes have to agree.
    return pl.col("user_id").cast(pl.String).hash(seed=20)


def _weight(frame: pl.DataFrame) -> int:
    """How many rows of usage take as much memory: a row of user_monthly is as wide as four of them."""
    return max(frame.height, int(frame.estimated_size()) // BYTES_HELD)


@dataclass
class Spill:
    """Frames of several kinds ("usage", "standing"), each with a user_id: put in as they come, taken by users."""

    limit: int
    folder: Path | None = None
    _loose: dict[str, list[pl.DataFrame]] = field(default_factory=dict)
    _blocks: dict[str, list[Block]] = field(default_factory=dict)
    _files: dict[str, list[Path]] = field(default_factory=dict)
    _pieces: dict[tuple[str, int], list[Piece]] = field(default_factory=dict)
    _sizes: dict[str, Counter[int]] = field(default_factory=dict)
    _held: int = 0
    _room: tempfile.TemporaryDirectory[str] | None = None

    def __enter__(self) -> "Spill":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._room is not None:
            self._room.cleanup()

    def put(self, kind: str, frame: pl.DataFrame) -> None:
        """Adds rows of a kind; all that is held goes to files once that is too much."""
        frame = frame.with_columns((_user_hash() % BUCKETS).cast(pl.UInt16).alias(BUCKET))
        self._sizes.setdefault(kind, Counter()).update(dict(frame.group_by(BUCKET).len().iter_rows()))
        loose = self._loose.setdefault(kind, [])
        loose.append(frame)
        self._held += _weight(frame)
        if sum(map(_weight, loose)) > LOOSE_ROWS:
            self._sort(kind)
        if self._held > min(self.limit, HELD_ROWS):
            self._flush()

    def drop(self, *kinds: str) -> None:
        """Forgets all rows of some kinds: they are about to be read again."""
        for kind in kinds:
            for held in (self._loose, self._blocks, self._sizes):
                held.pop(kind, None)
            for path in self._files.pop(kind, []):
                path.unlink()
            for key in [key for key in self._pieces if key[0] == kind]:
                del self._pieces[key]
        self._held = sum(_weight(frame) for frames in self._loose.values() for frame in frames)
        self._held += sum(_weight(block.rows) for blocks in self._blocks.values() for block in blocks)

    def chunks(self, workers: int = 1, agreed: Sequence[Chunk] | None = None) -> Sequence[Chunk]:
        """Chunks that hold every user once, none with more rows than fit unless one user has more; or those of a plan
        that was ``agreed`` to. Nothing may be put in after that."""
        if self._files:
            self._flush()
        for kind in self._loose:
            self._sort(kind)
        return agreed if agreed is not None else self._cut(chunk_rows(self.limit, workers))

    def _cut(self, limit: int) -> list[Chunk]:
        sizes = sum(self._sizes.values(), Counter[int]())
        chunks: list[Chunk] = []
        together: list[int] = []
        rows = 0
        for bucket in range(BUCKETS):
            size = sizes[bucket]
            if size > limit:
                if together:
                    chunks.append(Chunk(tuple(together)))
                    together, rows = [], 0
                parts = 2 * -(-size // limit)
                chunks += [Chunk((bucket,), part, parts) for part in range(parts)]
                continue
            if together and rows + size > limit:
                chunks.append(Chunk(tuple(together)))
                together, rows = [], 0
            together.append(bucket)
            rows += size
        return [*chunks, Chunk(tuple(together))] if together or not chunks else chunks

    def take(self, chunk: Chunk, kind: str) -> pl.LazyFrame | None:
        """The rows of a kind of the chunk's users, each user's in the order they came; None where there are none."""
        pieces = [piece for bucket in chunk.buckets for piece in self._pieces.get((kind, bucket), [])]
        # In the order of arrival: of a row read twice the last counts.
        frames = [piece.read() for piece in sorted(pieces)]
        frames += [block.slice(*run) for block in self._blocks.get(kind, []) for run in runs(chunk.buckets)]
        found = [frame.lazy() for frame in frames if frame.height]
        if chunk.parts > 1:
            found = [frame.filter(chunk.mine()) for frame in found]
        return pl.concat(found) if found else None

    def _sort(self, kind: str) -> None:
        if self._loose[kind]:
            self._blocks.setdefault(kind, []).append(Block.of(self._loose[kind]))
            self._loose[kind] = []

    def _flush(self) -> None:
        if self._room is None:
            parent = self.folder or Path(tempfile.gettempdir())
            _sweep(parent)
            self._room = tempfile.TemporaryDirectory(prefix=f"{PREFIX}{os.getpid()}-", dir=parent)
        for kind in self._loose:
            self._sort(kind)
        for kind, blocks in self._blocks.items():
            self._store(kind, blocks, Path(self._room.name))
        self._blocks, self._held = {}, 0

    def _store(self, kind: str, blocks: list[Block], room: Path) -> None:
        files = self._files.setdefault(kind, [])
        files.append(room / f"{len(files):06d}-{kind}.arrow")
        # One file, not one a bucket: to remove hundreds takes seconds once they are on the disk.
        with files[-1].open("wb") as file:
            for bucket in range(BUCKETS):
                rows = pl.concat([block.slice(bucket, bucket) for block in blocks])
                if rows.height:
                    piece = Piece.written(rows, len(files), file)
                    self._pieces.setdefault((kind, bucket), []).append(piece)


def _sweep(parent: Path) -> None:
    """Removes what runs left that were killed: it is a copy of customers' usage, and nobody else's business."""
    for folder in parent.glob(f"{PREFIX}*"):
        owner = re.fullmatch(rf"{PREFIX}(\d+)-.*", folder.name)
        # Other runs (of other schemas) come and go beside us: what vanishes meanwhile needs no sweeping.
        with suppress(FileNotFoundError):
            if owner and folder.stat().st_uid == os.getuid() and not _lives(int(owner[1])):
                shutil.rmtree(folder, ignore_errors=True)


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
