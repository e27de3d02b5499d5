"""Approval of a backfill's plan: the rows that it would write, as hashes by user, compared with what was approved.

Before the first write, everything is computed and compared with the plan that a person approved. Then each batch is
compared once more, in its own transaction. If a later batch differs, committed batches stay committed.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from uuid import UUID

import polars as pl

from jobs.domain.backfill_request import BackfillLimits
from jobs.domain.errors import PlanMismatchError
from jobs.domain.wording import name_some
from jobs.rollups.causes import COMPARED_AMOUNTS, NO_CAUSES
from jobs.rollups.changes import MODULUS, sum_digests

SOME = 10
ADOPTION, END = "adoption", "end"
DIGITS = 24
"""How many digits of the hash a person copies: 96 bits."""


@dataclass(frozen=True, slots=True)
class ApprovedPlan:
    """An approved plan: its hash, and the hashes of its changes, by user and by stage."""

    hash: str
    digests_by_user: Mapping[str | None, int]
    stages: Mapping[str, int]


@dataclass(slots=True)
class ChangeRecorder:
    """Records the changes of a backfill as hashes, and compares them with the approved plan.

    - ``limits``: users and clusters whose rows may change;
    - ``approved``: the plan that is carried out; None in a dry run;
    - ``digests_by_user``, ``stages``: the hashes so far; a stage is not a batch, and has no user;
    - ``outside``: changes that the limits do not allow;
    - ``causes``: why user-months change.
    """

    limits: BackfillLimits = field(default_factory=BackfillLimits)
    approved: ApprovedPlan | None = None
    digests_by_user: dict[str | None, int] = field(default_factory=dict)
    stages: dict[str, int] = field(default_factory=dict)
    outside: set[str] = field(default_factory=set)
    causes: list[pl.DataFrame] = field(default_factory=list)

    def check_batch(self, rows: pl.DataFrame) -> None:
        """Raises PlanMismatchError if the changes of a batch differ from the approved ones. Call before COMMIT.

        ``rows``: rollups.changes.CHANGES.
        """
        if self.approved is None:
            return
        # A user without changes is right too: an earlier run, or an earlier try, has written them.
        by_user = {user: digest for user, digest in sum_digests(rows).items() if user is not None}
        differing = sorted(
            user for user, digest in by_user.items() if digest != self.approved.digests_by_user.get(user)
        )
        if differing:
            raise PlanMismatchError(
                f"the data changed since the plan {self.approved.hash} was made: it would now make other changes for "
                f"{name_some(differing, SOME)}. They were not written; users who were finished before stay changed. "
                "Make a new plan with --dry-run, look at it, and approve that"
            )

    def add_batch(self, rows: pl.DataFrame, causes: pl.DataFrame) -> None:
        """Adds the changes of a batch, committed or computed by a dry run, and the causes of its user-months."""
        for user, digest in sum_digests(rows).items():
            self.digests_by_user[user] = (self.digests_by_user.get(user, 0) + digest) % MODULUS
        self.outside |= outside_limits(rows, self.limits)
        self.causes.append(causes)

    def add_stage(self, stage: str, rows: pl.DataFrame) -> None:
        """Adds the changes of a stage that is not a batch: ADOPTION or END.

        Raises PlanMismatchError if they differ from the approved ones.
        """
        digest = sum(sum_digests(rows).values()) % MODULUS
        if self.approved is not None and digest not in (self.approved.stages.get(stage, 0), 0):
            raise PlanMismatchError(
                f"the data changed since the plan {self.approved.hash} was made: its {stage} would now change "
                f"{_describe_rows(rows)}. It was not written; users who were finished before stay changed. Make a new "
                "plan with --dry-run, look at it, and approve that"
            )
        self.stages[stage] = digest
        self.outside |= outside_limits(rows, self.limits)

    @property
    def hash(self) -> str:
        return f"{(sum(self.digests_by_user.values()) + sum(self.stages.values())) % MODULUS:064x}"[:DIGITS]

    @property
    def changed_months(self) -> pl.DataFrame:
        """Every user-month that changes (rollups.causes.find_causes), the largest change first."""
        causes = pl.concat([NO_CAUSES, *self.causes])
        size = pl.max_horizontal((pl.col(f"new_{name}") - pl.col(f"old_{name}")).abs() for name in COMPARED_AMOUNTS)
        return causes.sort(size, "month", "user_id", descending=[True, False, False])

    def enforce_limits(self) -> None:
        """Raises PlanMismatchError (exit 6) if rows would change that the limits do not allow."""
        if self.outside:
            outside = sorted(self.outside)
            raise PlanMismatchError(
                f"{len(outside):,} rows beyond --user and --cluster would change: {name_some(outside, SOME)}. "
                "Nothing was written. Expected changes of the named users and clusters only: name the others too, or "
                "leave the option out"
            )

    def approve(self, asked: str | None) -> ApprovedPlan:
        """Returns the plan to carry out.

        ``asked``: the approved hash, None if none was asked for. Raises PlanMismatchError if the hash differs.
        """
        if asked is None or self.hash == asked:
            return ApprovedPlan(self.hash, dict(self.digests_by_user), dict(self.stages))
        raise PlanMismatchError(
            f"--plan {asked}: the data changed since that plan was made: the plan is {self.hash} now. Nothing was "
            "written. Look at it with --dry-run, and approve that"
        )


def outside_limits(rows: pl.DataFrame, limits: BackfillLimits) -> set[str]:
    """Returns which of ``rows`` the limits do not allow, in words."""
    outside = set()
    for row in rows.iter_rows(named=True) if limits.any else ():
        if row["table"].startswith("cluster_"):
            cluster = None if row["cluster"] is None else UUID(int=row["cluster"])
            if limits.clusters is not None and cluster not in limits.clusters:
                outside.add(f"{row['table']} of cluster {cluster or 'none'}")
        elif row["user"] is not None and limits.users is not None and row["user"] not in limits.users:
            outside.add(f"{row['table']} of user {row['user']}")
    return outside


def _describe_rows(rows: pl.DataFrame) -> str:
    names = rows.select(pl.format("{} of {}", "table", pl.coalesce("user", pl.lit("clusters and months")))).unique()
    return name_some(sorted(names.to_series()), SOME) or "nothing"
