"""What a run says of itself when it is over: the closing summary, and the object of ``--json``."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from decimal import Decimal


@dataclass(frozen=True, slots=True)
class Entries:
    """Rows of the ledger and what they add up to, as a positive amount."""

    rows: int
    amount: Decimal


@dataclass(frozen=True, slots=True)
class CreditStory:
    """What a run did with credits. Booked by it: ``users_drawn``, net ``free`` and ``purchased``, and of these the
    corrections of rows drawn before: ``taken``, ``given_back``, ``reassigned`` (rows that only changed between free and
    purchased). As it leaves the window: ``credits_deducted``, ``uncovered``, ``users_ran_out``, ``amount_due``,
    ``amount_reported``. ``foreign_rows``: rows whose credits_deducted somebody else wrote."""

    users_drawn: int
    free: Decimal
    purchased: Decimal
    taken: Entries
    given_back: Entries
    reassigned: int
    credits_deducted: Decimal
    uncovered: Decimal
    users_ran_out: int
    amount_due: Decimal
    amount_reported: Decimal
    foreign_rows: int


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
    credits: CreditStory
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
