"""A backfill's plan: every row that it would write, as hashes by user, and whether it is still what was approved.

Before the first write everything is computed and compared with the plan that a person approved; then each batch again,
in its own transaction. What was committed when a later batch differs stands.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from uuid import UUID

import polars as pl

from jobs.domain.backfill_request import Limits
from jobs.domain.errors import PlanMismatchError
from jobs.rollups.causes import SUMS, UNCHANGED
from jobs.rollups.changes import MODULUS, digests

SOME = 10
ADOPTION, END = "adoption", "end"
DIGITS = 24
"""Of the hash that a person copies: 96 bits."""


@dataclass(frozen=True, slots=True)
class ApprovedPlan:
    """A plan that is to be carried out: its hash, and the hash of the changes of each user and of nobody by stage."""

    hash: str
    users: Mapping[str | None, int]
    stages: Mapping[str, int]


@dataclass(slots=True)
class ChangeRecorder:
    """What has been listed so far; of the rows themselves only what a plan shows is kept.

    ``approved``: the plan that is being carried out, with which all is compared; none in a dry run.
    """

    limits: Limits = field(default_factory=Limits)
    approved: ApprovedPlan | None = None
    users: dict[str | None, int] = field(default_factory=dict)
    stages: dict[str, int] = field(default_factory=dict)
    outside: set[str] = field(default_factory=set)
    causes: list[pl.DataFrame] = field(default_factory=list)

    def check_batch(self, rows: pl.DataFrame) -> None:
        """Before the changes of a batch (changes.CHANGES) are committed. Raises MovedError where they are not what was
        approved."""
        if self.approved is None:
            return
        # Nothing to be written is right as well: an earlier run, or try, has written it.
        found = {user: number for user, number in digests(rows).items() if user is not None}
        moved = sorted(user for user, number in found.items() if number != self.approved.users.get(user))
        if moved:
            raise PlanMismatchError(
                f"the data changed since the plan {self.approved.hash} was made: other changes are to be made of "
                f"{_some(moved)}. They were not written; users who were finished before stand. Make a new plan with "
                "--dry-run, look at it, and approve that"
            )

    def add_batch(self, rows: pl.DataFrame, causes: pl.DataFrame) -> None:
        """Takes the changes of a batch that is committed, or that a dry run would write, and why user-months change."""
        for user, number in digests(rows).items():
            self.users[user] = (self.users.get(user, 0) + number) % MODULUS
        self.outside |= outside_limits(rows, self.limits)
        self.causes.append(causes)

    def add_stage(self, stage: str, rows: pl.DataFrame) -> None:
        """The same of a stage that is not a batch: the adoption, the end of a run."""
        found = sum(digests(rows).values()) % MODULUS
        if self.approved is not None and found not in (self.approved.stages.get(stage, 0), 0):
            raise PlanMismatchError(
                f"the data changed since the plan {self.approved.hash} was made: its {stage} would now change "
                f"{_named(rows)}. It was not written; users who were finished before stand. Make a new plan with "
                "--dry-run, look at it, and approve that"
            )
        self.stages[stage] = found
        self.outside |= outside_limits(rows, self.limits)

    @property
    def hash(self) -> str:
        return f"{(sum(self.users.values()) + sum(self.stages.values())) % MODULUS:064x}"[:DIGITS]

    @property
    def changed_months(self) -> pl.DataFrame:
        """Every user-month that changes (rollups.causes), the largest change first."""
        found = pl.concat([UNCHANGED, *self.causes])
        size = pl.max_horizontal((pl.col(f"new_{name}") - pl.col(f"old_{name}")).abs() for name in SUMS)
        return found.sort(size, "month", "user_id", descending=[True, False, False])

    def enforce_limits(self) -> None:
        """Raises MovedError (exit 6) naming what would change beyond the limits."""
        if self.outside:
            found = sorted(self.outside)
            raise PlanMismatchError(
                f"{len(found):,} rows beyond --user and --cluster would change: {_some(found)}. Nothing was written. "
                "Expected changes of these users and clusters alone: name the others too, or leave the option out"
            )

    def approve(self, asked: str | None) -> ApprovedPlan:
        """The plan to carry out; ``asked``: the hash that was approved. Raises MovedError where this is another."""
        if asked is None or self.hash == asked:
            return ApprovedPlan(self.hash, dict(self.users), dict(self.stages))
        raise PlanMismatchError(
            f"--plan {asked}: the data changed since that plan was made: the plan is {self.hash} now. Nothing was "
            "written. Look at it with --dry-run, and approve that"
        )


def outside_limits(rows: pl.DataFrame, limits: Limits) -> set[str]:
    """Which rows the limits forbid, in words."""
    found = set()
    for row in rows.iter_rows(named=True) if limits.any else ():
        if row["table"].startswith("cluster_"):
            cluster = None if row["cluster"] is None else UUID(int=row["cluster"])
            if limits.clusters is not None and cluster not in limits.clusters:
                found.add(f"{row['table']} of cluster {cluster or 'none'}")
        elif row["user"] is not None and limits.users is not None and row["user"] not in limits.users:
            found.add(f"{row['table']} of user {row['user']}")
    return found


def _named(rows: pl.DataFrame) -> str:
    found = rows.select(pl.format("{} of {}", "table", pl.coalesce("user", pl.lit("clusters and months")))).unique()
    return _some(sorted(found.to_series())) or "nothing"


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - SOME:,} more" if len(names) > SOME else ""
    return ", ".join(names[:SOME]) + more
