"""The report of a run or a dry run: the source of the printed summary and of the ``--json`` object."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from decimal import Decimal


@dataclass(frozen=True, slots=True)
class LedgerTotals:
    """A number of ledger entries and their sum, as a positive amount."""

    rows: int
    amount: Decimal


@dataclass(frozen=True, slots=True)
class CreditSummary:
    """What a run did with credits, and how the total cost of its window is paid.

    Posted by this run: ``users_drawn`` (how many users), net ``free`` and ``purchased``. These include corrections of
    rows that had draws before: ``taken``, ``given_back``, ``reassigned`` (rows that only moved between free and
    purchased).

    Parts of the total cost: ``credits_deducted``, ``uncovered`` (of ``users_ran_out`` users), ``amount_due``,
    ``amount_reported``, ``amount_free``, and ``rest``, the remainder, explained by ``rest_because``.

    ``refilled_rows``: rows whose credits_deducted was empty or wrong, and is written again as the ledger has it.
    """

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
        """The parts of the total cost by their printed names; they add up to it exactly."""
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
    """A user-month that changes, with its old and new figures; None: not computed before.

    ``cause``: one or more of usage, price, override, credit, joined by +.
    """

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
    """A month of a backfill: how many users change, and the month's cost and draws before and after."""

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
    """What a backfill would change, or has changed; ``hash`` covers every changed row, old and new."""

    hash: str
    months: tuple[MonthChange, ...]
    changes: tuple[Change, ...]


@dataclass(frozen=True, slots=True)
class Report:
    """The figures of a run.

    - ``unsettled``: months that were due to be closed and stay open
    - ``rows_read``: usage rows that batches read; ``users_recomputed``: how many users were written (in a dry run:
      computed)
    - ``unpriced``: rows among these without a recorded cost; they are priced, but usage_daily.total_cost is not written
    - ``changed``: rows written, by table
    - ``seconds``: by stage
    - ``notes``: warnings for the user
    - ``users_left``: users who were skipped because another client had locked or changed their rows
    - ``users_set_aside``: users for whom nothing can be written
    - ``users_foreign``: users set aside because their rows show credits that the ledger does not explain
    - ``overrides_unanswered``: price overrides with a resource type that no meter has
    """

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
        # The next nightly run computes the users that this one skipped; in a closed month no nightly run does.
        left = self.users_left if self.kind == "backfill" else 0
        troubled = self.unsettled or self.users_set_aside or self.overrides_unanswered
        return 3 if self.rows_rejected or troubled or left else 0
