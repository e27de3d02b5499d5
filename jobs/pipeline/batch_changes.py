"""The rows that a batch should store, and how they differ from the stored ones.

``batch`` computes the targets first and then, when the rows to be written are locked, the differences.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

import polars as pl

from jobs.domain.schemas import DRAWN
from jobs.pipeline import row_changes
from jobs.pipeline.batch_input import BatchInput, filter_frames, of_users
from jobs.pipeline.table_diff import TableDiff
from jobs.postgres import accounts
from jobs.postgres.rejects import RejectChange
from jobs.postgres.run_scope import RunScope
from jobs.postgres.usage_writeback import UnreadRow
from jobs.rollups.changes import NO_CHANGES


@dataclass(frozen=True, slots=True)
class BatchTargets:
    """What a batch should post and store for its users.

    - ``inputs``: what was read of them; ``rows``: their rated rows with their draws;
    - ``accounts``, ``accounts_after``: before and after ``postings`` (schemas.ACCOUNTS);
    - ``adopted_draws``: draws that ``--adopt`` enters in the ledger without a transaction (schemas.DRAWS);
    - ``usage_updates``: rows of usage_daily to write (pipeline.usage_updates); ``unread``: rows whose draws are
      reversed, and that no batch reads, because they have no user or no day of the window now;
    - ``days``, ``months``: rows of user_daily, and of user_monthly without the hashes of credits, overrides, prices;
    - ``settled_debts``: debts that credit settles, with what is drawn on each; ``debts_settled_by_adoption``: those
      that adopted draws settle; ``debts``: rows of rollup.debts;
    - ``rejects``: changes of rollup.rejects.
    """

    scope: RunScope
    inputs: BatchInput
    rows: pl.DataFrame
    accounts: pl.DataFrame
    accounts_after: pl.DataFrame
    adopted_draws: pl.DataFrame
    postings: pl.DataFrame
    usage_updates: pl.DataFrame
    unread: Sequence[UnreadRow]
    days: pl.DataFrame
    months: pl.DataFrame
    settled_debts: pl.DataFrame
    debts_settled_by_adoption: pl.DataFrame
    debts: pl.DataFrame
    rejects: Sequence[RejectChange]

    @property
    def users(self) -> frozenset[str]:
        return self.inputs.users

    @property
    def refilled_rows(self) -> pl.DataFrame:
        """Rows whose credits_deducted is written again as the ledger has it (schemas.MISMATCHED)."""
        return self.inputs.unexplained_rows

    @property
    def adopted_by_user(self) -> pl.DataFrame:
        """Adopted draws by user: user_id, how many there are, and their amount (units of 10^-10)."""
        amount = DRAWN.sum()
        return self.adopted_draws.group_by("user_id").agg(pl.len(), amount.alias("amount"))

    def without(self, users: Collection[str]) -> "BatchTargets":
        """Returns the targets of all users but ``users``."""
        removed = self.users & frozenset(users)
        if not removed:
            return self
        return replace(
            self,
            inputs=self.inputs.without(removed),
            **filter_frames(self, ~of_users(removed)),
            unread=[row for row in self.unread if not row.former_users & removed],
            rejects=[change for change in self.rejects if change.user not in removed],
        )


@dataclass(frozen=True, slots=True)
class BatchChanges:
    """What a batch writes: its ``targets``, and how the rows of user_daily (``days``), user_monthly (``months``) and
    rollup.debts differ from the stored ones.

    ``causes``: why user-months change (rollups.causes.find_causes). In a backfill, a dry run and the change check: of
    all months; else only of closed months in which debts are settled.
    """

    targets: BatchTargets
    days: TableDiff
    months: TableDiff
    debts: TableDiff
    causes: pl.DataFrame

    def was_computed_from(self, inputs: BatchInput, account_rows: pl.DataFrame) -> bool:
        """Whether they were computed from these ``inputs``, with the same accounts."""
        then, now = (frame.sort("user_id") for frame in (self.targets.accounts, account_rows))
        return self.targets.inputs is inputs and then.equals(now)

    @property
    def corrections(self) -> pl.DataFrame:
        """The causes that go into rollup.corrections: those of closed months."""
        is_open = pl.col("month").is_in(self.targets.scope.window.open)
        return self.causes.filter(~is_open)

    @property
    def counts(self) -> dict[str, int]:
        """How many rows change, by table."""
        targets, credits = self.targets, self.targets.scope.credits
        counts = {"usage_daily": targets.usage_updates.height + len(targets.unread)}
        if not targets.postings.is_empty():
            counts["credit_draws"] = targets.postings.height
            counts["user_credits"] = accounts.count_changed_accounts(targets.postings, credits)
            if credits.has_transactions:
                counts["credit_transactions"] = accounts.count_transactions(targets.postings)
        if not targets.adopted_draws.is_empty():
            counts["credit_draws"] = counts.get("credit_draws", 0) + targets.adopted_draws.height
        counts |= {diff.table.name: diff.row_count for diff in (self.days, self.months, self.debts)}
        counts |= {"billing_modes": len(targets.inputs.new_billing_modes), "corrections": self.corrections.height}
        return counts | {"rejects": len(targets.rejects)}

    def list_changes(self) -> pl.DataFrame:
        """Returns every row that changes (rollups.changes.CHANGES), if the plan is shown or compared; else none."""
        targets = self.targets
        if not targets.scope.lists_changes:
            return NO_CHANGES
        return pl.concat(
            [
                row_changes.list_billing_modes(targets.inputs.new_billing_modes),
                row_changes.list_postings(targets.scope, targets.postings, targets.accounts, targets.accounts_after),
                row_changes.list_adopted_draws(targets.adopted_draws),
                row_changes.list_usage(targets.usage_updates, targets.unread),
                self.days.list_changes(),
                self.months.list_changes(),
                self.debts.list_changes(),
                row_changes.list_corrections(self.corrections),
                row_changes.list_rejects(targets.rejects),
            ]
        )
