"""What `usage-jobs backfill` was asked for, and within what limits it may change anything."""

from dataclasses import dataclass
from datetime import date
from uuid import UUID


@dataclass(frozen=True, slots=True)
class Limits:
    """Whose rows, and which rows of the cluster tables, may change; None limits nothing. A cluster None is the row
    without one."""

    users: frozenset[str] | None = None
    clusters: frozenset[UUID | None] | None = None

    @property
    def any(self) -> bool:
        return self.users is not None or self.clusters is not None


@dataclass(frozen=True, slots=True)
class Backfill:
    """`backfill --from since --to until --reason TEXT`; ``plan``: the hash of the plan that was agreed to."""

    since: date
    until: date
    reason: str | None = None
    limits: Limits = Limits()
    plan: str | None = None
