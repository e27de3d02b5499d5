"""The request of a `usage-jobs backfill`: its days, its reason, and the limits of what it may change."""

from dataclasses import dataclass
from datetime import date
from uuid import UUID


@dataclass(frozen=True, slots=True)
class BackfillLimits:
    """The only users and clusters whose rows a backfill may change.

    ``users``: None means every user. ``clusters``: None means every cluster; None as a member of the set means the rows
    without a cluster.
    """

    users: frozenset[str] | None = None
    clusters: frozenset[UUID | None] | None = None

    @property
    def any(self) -> bool:
        return self.users is not None or self.clusters is not None


@dataclass(frozen=True, slots=True)
class Backfill:
    """`backfill --from since --to until --reason TEXT`; ``plan``: the hash of the approved plan."""

    since: date
    until: date
    reason: str | None = None
    limits: BackfillLimits = BackfillLimits()
    plan: str | None = None
