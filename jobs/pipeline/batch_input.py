"""The input of a batch: what is read of its users, with the rows rated."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, NamedTuple
from uuid import UUID

import polars as pl

from jobs.credits.allocation import CreditInput
from jobs.domain.schemas import BILLING_MODE_ENTRIES, IS_UNEXPLAINED
from jobs.postgres.billing_mode_history import Entry


class Unexplained(NamedTuple):
    """Why a user's credits are unexplained; ``is_adoptable``: whether ``--adopt`` can take the difference into the
    ledger."""

    reason: str
    is_adoptable: bool = True


@dataclass(frozen=True, slots=True)
class BatchInput:
    """What was read of some ``users`` for the months of the run.

    - ``rows``: rated rows, in row order; ``rejected``: rows that cannot be priced;
    - ``fingerprints``: by user and month row_count, usage_hash and written_hash of all rows as read;
    - ``billing_modes``: schemas.BILLING_MODE_ENTRIES, with ``is_new``;
    - ``draws``: of the window, and a draw of 0 for each row that was adopted in another month (schemas.DRAWS);
      ``entry_counts``: ledger entries by user;
    - ``vanished_draws``: draws on rows that are deleted, or another user's now;
    - ``mismatched``: rows whose credits_deducted differs from the draws (schemas.MISMATCHED);
    - ``stored_months``, ``stored_days``: stored rows of user_monthly and user_daily;
    - ``debts``: stored rows of rollup.debts, of closed and closing months; ``payable``: debts that credit can settle
      (schemas.PAYABLE); ``mismatched_debts``: those whose row mismatches (schemas.MISMATCHED);
    - ``closed_months``, ``closed_days``: stored rows of user_monthly and user_daily of payable debts;
    - ``unexplained``: why the ledger does not explain credits of some users. Those whom neither --adopt nor
      --trust-ledger names are set aside.
    """

    users: frozenset[str]
    rows: pl.DataFrame
    rejected: pl.DataFrame
    fingerprints: pl.DataFrame
    billing_modes: pl.DataFrame
    draws: pl.DataFrame
    entry_counts: pl.DataFrame
    mismatched: pl.DataFrame
    vanished_draws: pl.DataFrame
    stored_months: pl.DataFrame
    stored_days: pl.DataFrame
    debts: pl.DataFrame
    payable: pl.DataFrame
    closed_months: pl.DataFrame
    closed_days: pl.DataFrame
    mismatched_debts: pl.DataFrame
    unexplained: Mapping[str, Unexplained] = field(default_factory=dict)

    def without(self, users: Collection[str]) -> "BatchInput":
        """Returns the input of all users but ``users``."""
        if not users:
            return self
        return replace(self, users=self.users - frozenset(users), **filter_frames(self, ~of_users(users)))

    @property
    def for_credits(self) -> CreditInput:
        """What decides which credit pays for which row."""
        # Rows that moved here from a closed month, with what their user has drawn on them in that month.
        closed_month_draws = self.mismatched.filter(pl.col("elsewhere") != 0).select("id", "user_id", "elsewhere")
        return CreditInput(self.rows, self.billing_modes, self.draws, closed_month_draws, self.payable)

    @property
    def account_users(self) -> set[str]:
        """Users whose account may matter: prepaid on some day, or with draws, payable debts or unexplained credits."""
        return {
            *self.billing_modes.filter(pl.col("mode") == "prepaid")["user_id"],
            *self.draws["user_id"],
            *self.payable["user_id"],
            *(self.unexplained.keys() & self.users),
        }

    @property
    def new_billing_modes(self) -> list[Entry]:
        """The entries to append to rollup.billing_modes."""
        return self.billing_modes.filter("is_new").select(list(BILLING_MODE_ENTRIES)).rows()

    @property
    def unexplained_rows(self) -> pl.DataFrame:
        """Rows, of the window and of debts, whose credits_deducted the ledger does not explain (schemas.MISMATCHED)."""
        return pl.concat([self.mismatched, self.mismatched_debts]).filter(IS_UNEXPLAINED)

    @property
    def rejected_ids(self) -> list[str]:
        return [str(UUID(int=id_)) for id_ in self.rejected["id"]]

    @property
    def rows_read(self) -> int:
        return self.rows.height + self.rejected.height


def of_users(users: Collection[str]) -> pl.Expr:
    """Whether a row is of one of ``users``."""
    return pl.col("user_id").cast(pl.String).is_in(sorted(users))


def filter_frames(instance: Any, condition: pl.Expr) -> dict[str, Any]:
    """Returns the frames among the fields of a dataclass, by name, with the rows that meet ``condition``."""
    values = {each.name: getattr(instance, each.name) for each in fields(instance)}
    return {name: value.filter(condition) for name, value in values.items() if isinstance(value, pl.DataFrame)}
