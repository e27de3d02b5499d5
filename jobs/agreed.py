"""A backfill's plan: every row that it would write, what that comes to, and whether it is still what was agreed to.

The plan's hash is the sum of its parts: what the run does as it begins, its chunks, its end. Before the first write
all parts are computed and compared with the plan that was agreed to; then each part again, in its own transaction. A
run keeps the parts of its plan in rollup.runs: where it dies, the next one may find some of them written, no others.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import polars as pl

from jobs.compute.causes import UNCHANGED
from jobs.compute.changes import MODULUS, digest
from jobs.model.backfill import Limits
from jobs.model.errors import MovedError
from jobs.store.spill import Chunk

SOME = 10
BEGIN, ADOPTION, END = "begin", "adoption", "end"
DIGITS = 24
"""Of the hash that a person copies: 96 bits."""


@dataclass(frozen=True, slots=True)
class Parts:
    """A plan that is to be carried out: its hash, the digest of each part, and which chunks these are of."""

    hash: str
    digests: Mapping[str, int]
    chunks: tuple[Chunk, ...]

    def as_json(self) -> str:
        chunks = [[list(chunk.buckets), chunk.part, chunk.parts] for chunk in self.chunks]
        digests = {part: f"{number:x}" for part, number in self.digests.items()}
        return json.dumps({"hash": self.hash, "digests": digests, "chunks": chunks})

    @classmethod
    def of(cls, stored: Mapping[str, Any]) -> "Parts":
        digests = {part: int(text, 16) for part, text in stored["digests"].items()}
        chunks = tuple(Chunk(tuple(buckets), part, parts) for buckets, part, parts in stored["chunks"])
        return cls(stored["hash"], digests, chunks)

    def hold(self, part: str, found: int, rows: pl.DataFrame) -> None:
        """Raises MovedError unless ``found``, the digest of ``rows``, is what was agreed to for a part, or nothing."""
        if found not in (self.digests.get(part), 0):
            raise MovedError(
                f"the world moved since the plan {self.hash}: {part} would now change {_named(rows)}. It was not "
                "written; parts that were finished before stand. Look at it anew with --dry-run, and agree to that plan"
            )


@dataclass(slots=True)
class Told:
    """What has been told so far, by part of the run; of the rows themselves only what a plan shows is kept.

    ``parts``: the plan that is being carried out, to which every part is held; none in a dry run.
    """

    limits: Limits = field(default_factory=Limits)
    parts: Parts | None = None
    digests: dict[str, int] = field(default_factory=dict)
    beyond: dict[str, list[str]] = field(default_factory=dict)
    causes: dict[str, pl.DataFrame] = field(default_factory=dict)

    def add(self, part: str, rows: pl.DataFrame, causes: pl.DataFrame = UNCHANGED) -> None:
        """Takes a part's rows (changes.CHANGES), in place of what an earlier try of it told.

        Before they are committed: raises MovedError where they are not what was agreed to.
        """
        found = digest([rows])
        if self.parts is not None:
            self.parts.hold(part, found, rows)
        self.digests[part] = found
        self.beyond[part] = beyond(rows, self.limits)
        self.causes[part] = causes

    @property
    def hash(self) -> str:
        return f"{sum(self.digests.values()) % MODULUS:064x}"[:DIGITS]

    @property
    def changed(self) -> pl.DataFrame:
        """Every user-month that changes (compute.causes), the largest change first."""
        found = pl.concat([UNCHANGED, *self.causes.values()])
        size = pl.max_horizontal(
            (pl.col("new_total") - pl.col("old_total")).abs(), (pl.col("new_credits") - pl.col("old_credits")).abs()
        )
        return found.sort(size, "month", "user_id", descending=[True, False, False])

    def keep_within_limits(self) -> None:
        """Raises MovedError (exit 6) naming what would change beyond the limits."""
        found = [name for names in self.beyond.values() for name in names]
        if found:
            raise MovedError(
                f"{len(found):,} rows beyond --user and --cluster would change: {_some(found)}. Nothing was written. "
                "Expected changes of these users and clusters alone: name the others too, or leave the option out"
            )

    def agreed(self, asked: str | None, chunks: Sequence[Chunk], begun: Parts | None) -> Parts:
        """The plan to carry out; ``asked``: the hash that was agreed to; ``begun``: the plan of that hash that an
        earlier run began and did not finish.

        Raises MovedError where this is not the plan that was agreed to, nor what is left of it.
        """
        if asked is None or self.hash == asked:
            return Parts(self.hash, self.digests, tuple(chunks))
        if begun is not None and self.is_left_of(begun):
            return begun
        raise MovedError(
            f"--plan {asked}: the world moved since: the plan is {self.hash} now. Nothing was written. Look at it anew "
            "with --dry-run, and agree to that plan"
        )

    def is_left_of(self, begun: Parts) -> bool:
        """Whether each part is as it was in an earlier plan, or written."""
        same = self.digests.keys() == begun.digests.keys()
        return same and all(now in (begun.digests[part], 0) for part, now in self.digests.items())


def part_of(number: int) -> str:
    """The name of a chunk's part of the plan."""
    return f"chunk {number}"


def beyond(rows: pl.DataFrame, limits: Limits) -> list[str]:
    """Which rows the limits forbid, in words."""
    found = set()
    for row in rows.iter_rows(named=True) if limits.any else ():
        if row["table"].startswith("cluster_"):
            cluster = None if row["cluster"] is None else UUID(int=row["cluster"])
            if limits.clusters is not None and cluster not in limits.clusters:
                found.add(f"{row['table']} of cluster {cluster or 'none'}")
        elif row["user"] is not None and limits.users is not None and row["user"] not in limits.users:
            found.add(f"{row['table']} of user {row['user']}")
    return sorted(found)


def _named(rows: pl.DataFrame) -> str:
    found = rows.select(pl.format("{} of {}", "table", pl.coalesce("user", pl.lit("clusters and months")))).unique()
    return _some(sorted(found.to_series())) or "nothing"


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - SOME:,} more" if len(names) > SOME else ""
    return ", ".join(names[:SOME]) + more
