"""What a run says of itself when it is over: the closing summary, and the object of ``--json``."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from decimal import Decimal


@dataclass(frozen=True, slots=True)
class Report:
    """The figures of a run. ``changed``: rows written per table; ``seconds``: by stage; ``notes``: what a person
    should know; ``unpriced``: rows without a recorded cost, priced for everything but total_cost."""

    run_id: int | None
    kind: str
    window_from: date
    window_to: date
    closed: tuple[date, ...]
    rows_read: int
    rows_rejected: int
    unpriced: int
    changed: Mapping[str, int]
    total_cost: Decimal
    currency: str
    seconds: Mapping[str, float]
    notes: tuple[str, ...]
    dry_run: bool

    @property
    def rows_changed(self) -> int:
        return sum(self.changed.values())

    @property
    def exit_code(self) -> int:
        return 3 if self.rows_rejected else 0
