"""What a run says of itself when it is over: the closing summary, and the object of ``--json``."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from decimal import Decimal


@dataclass(frozen=True, slots=True)
class LedgerTotals:
    """Rows of the ledger and what they add up to, as a positive amount."""

    rows: int
    amount: Decimal


@dataclass(frozen=True, slots=True)
class CreditSummary:
    """What a run did with credits. Booked by it: ``users_drawn``, net ``free`` and ``purchased``, and of these the
    corrections of rows drawn before: ``taken``, ``given_back``, ``reassigned`` (rows that only changed between free and
    purchased). How the total cost of the window is paid: ``credits_deducted``, ``uncovered`` (of ``users_ran_out``),
    ``amount_due``, ``amount_reported``, ``amount_free``, and ``rest``, which is none of these, with why there is one.
    ``refilled_rows``: rows that had lost what the ledger has, and show it again."""

    users_drawn: int
    free: Decimal
    purchased: Decimal
    taken: LedgerTotals
    given_back: LedgerTotals
    reassigned: int
    credits_deducted: Decimal
    uncovered: Decimal
    users_ran_out: int
    amount_due: Decimal
    amount_reported: Decimal
    amount_free: Decimal
    rest: Decimal
    rest_because: str
    refilled_rows: int

    @property
    def parts(self) -> dict[str, Decimal]:
        """What the total cost is made of, in words: the parts add up to it exactly."""
        return {
            "drawn": self.credits_deducted,
            "uncovered": self.uncovered,
            "due": self.amount_due,
            "reported elsewhere": self.amount_reported,
            "free of charge": self.amount_free,
            self.rest_because: self.rest,
        }


@dataclass(frozen=True, slots=True)
class Change:
    """A user-month that changes, and why: usage, price, override, credit, joined by +. None: not computed before."""

    month: date
    user_id: str
    cause: str
    old_total: Decimal
    new_total: Decimal
    old_credits: Decimal
    new_credits: Decimal
    old_uncovered: Decimal | None
    new_uncovered: Decimal | None
    old_amount_due: Decimal | None
    new_amount_due: Decimal | None
    old_amount_reported: Decimal | None
    new_amount_reported: Decimal | None


@dataclass(frozen=True, slots=True)
class MonthChange:
    """A month of a backfill: how many users change, its whole cost and credits drawn before and after."""

    month: date
    closed: bool
    currency: str
    users: int
    total_before: Decimal
    total_after: Decimal
    credits_before: Decimal
    credits_after: Decimal


@dataclass(frozen=True, slots=True)
class PlanReport:
    """What a backfill would change, or has changed; ``hash`` stands for every row of it, old and new."""

    hash: str
    months: tuple[MonthChange, ...]
    changes: tuple[Change, ...]


@dataclass(frozen=True, slots=True)
class Report:
    """The figures of a run. ``changed``: rows written per table; ``seconds``: by stage; ``notes``: what a person
    should know; ``rows_read``: usage rows that batches read; ``users_recomputed``: of whom; ``unpriced``: those of
    these rows without a recorded cost, priced for everything but total_cost; ``unsettled``: months that were to be
    closed and stay open; ``users_left``: users who could not be had, because somebody held their rows locked;
    ``users_set_aside``: users of whom nothing can be written; ``users_foreign``: those of them whose rows show credits
    that nothing explains; ``overrides_unanswered``: price overrides of a type that
    no meter has."""

    run_id: int | None
    kind: str
    window_from: date
    window_to: date
    closed: tuple[date, ...]
    unsettled: tuple[date, ...]
    rows_read: int
    rows_rejected: int
    users_recomputed: int
    unpriced: int
    changed: Mapping[str, int]
    total_cost: Decimal
    credits: CreditSummary
    currency: str
    settings_file: str
    rates_file: str
    seconds: Mapping[str, float]
    notes: tuple[str, ...]
    dry_run: bool
    users_left: int = 0
    users_set_aside: int = 0
    users_foreign: int = 0
    overrides_unanswered: int = 0
    plan: PlanReport | None = None

    @property
    def rows_changed(self) -> int:
        return sum(self.changed.values())

    @property
    def changes_closed_months(self) -> bool:
        return self.plan is not None and any(month.closed and month.users for month in self.plan.months)

    @property
    def exit_code(self) -> int:
        if self.users_foreign:
            return 6
        # The next nightly run takes the users whom this one has left; in a closed month no run does.
        left = self.users_left if self.kind == "backfill" else 0
        troubled = self.unsettled or self.users_set_aside or self.overrides_unanswered
        return 3 if self.rows_rejected or troubled or left else 0
