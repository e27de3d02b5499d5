"""The changes of a batch in every table: computed by ``batch_computation``, written by ``batch``."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

import polars as pl

from jobs.domain.schemas import DRAWN
from jobs.pipeline import row_changes
from jobs.pipeline.batch_input import BatchInput, filter_frames, of_users
from jobs.pipeline.table_diff import TableDiff
from jobs.postgres import accounts, billing_mode_history, cluster_rollups, ledger, rejects, usage_writeback
from jobs.postgres.connections import Connection
from jobs.postgres.rejects import RejectChange
from jobs.postgres.run_scope import RunScope
from jobs.postgres.usage_writeback import ConcurrentChangeError, UnreadRow
from jobs.rollups.causes import NO_CAUSES
from jobs.rollups.changes import NO_CHANGES


@dataclass(frozen=True, slots=True)
class Differences:
    """How the target rows of a batch differ from the stored ones.

    ``causes``: why user-months of closed months change; of a backfill and of a dry run, those of open months too.
    """

    daily: TableDiff
    monthly: TableDiff
    debts: TableDiff
    causes: pl.DataFrame


@dataclass(frozen=True, slots=True)
class BatchChanges:
    """The changes of one batch.

    - ``inputs``: what was read of its users; ``rows``: its rated rows with their draws;
    - ``accounts``, ``accounts_after``: before and after ``postings`` (schemas.ACCOUNTS);
    - ``adopted``: draws that ``--adopt`` enters in the ledger without a transaction (schemas.DRAWS);
    - ``usage_updates``: rows of usage_daily to write (pipeline.usage_updates); ``unread``: rows whose draws are
      reversed and that are in no batch of a present user;
    - ``days_target``, ``months_target``: target rows of user_daily and user_monthly, without hashes;
    - ``settled_debts``: debts that credit settles, with what is drawn on each; ``debts_settled_by_adoption``: those
      that adopted draws settle; ``debts_target``: target rows of rollup.debts;
    - ``written_hashes``: what writing ``usage_updates`` changes in written_hash, by user and month;
    - ``found``: the differences from the stored rows, set by ``batch_computation.find_differences``.
    """

    scope: RunScope
    run_id: int | None
    inputs: BatchInput
    rows: pl.DataFrame
    accounts: pl.DataFrame
    accounts_after: pl.DataFrame
    adopted: pl.DataFrame
    postings: pl.DataFrame
    usage_updates: pl.DataFrame
    unread: Sequence[UnreadRow]
    days_target: pl.DataFrame
    months_target: pl.DataFrame
    settled_debts: pl.DataFrame
    debts_settled_by_adoption: pl.DataFrame
    debts_target: pl.DataFrame
    rejects: Sequence[RejectChange]
    written_hashes: pl.DataFrame
    found: Differences | None = None

    @property
    def users(self) -> frozenset[str]:
        return self.inputs.users

    @property
    def differences(self) -> Differences:
        assert self.found is not None  # noqa: S101 - find_differences comes before
        return self.found

    @property
    def refilled_rows(self) -> pl.DataFrame:
        """Rows whose credits_deducted is written again as the ledger has it (schemas.MISMATCHED)."""
        return self.inputs.unexplained_rows

    @property
    def adopted_by_user(self) -> pl.DataFrame:
        """Adopted draws by user: user_id, how many there are, and their amount (units of 10^-10)."""
        amount = DRAWN.sum()
        return self.adopted.group_by("user_id").agg(pl.len(), amount.alias("amount"))

    @property
    def corrections(self) -> pl.DataFrame:
        """The causes that go into rollup.corrections: those of closed months."""
        is_open = pl.col("month").is_in(self.scope.window.open)
        causes = NO_CAUSES if self.found is None else self.found.causes
        return causes.filter(~is_open)

    @property
    def counts(self) -> dict[str, int]:
        """How many rows change, by table."""
        credits, counts = self.scope.credits, {"usage_daily": self.usage_updates.height + len(self.unread)}
        if not self.postings.is_empty():
            counts["credit_draws"] = self.postings.height
            counts["user_credits"] = accounts.count_changed_accounts(self.postings, credits)
            if credits.has_transactions:
                counts["credit_transactions"] = accounts.count_transactions(self.postings)
        if not self.adopted.is_empty():
            counts["credit_draws"] = counts.get("credit_draws", 0) + self.adopted.height
        found = self.differences
        counts |= {diff.table.name: diff.row_count for diff in (found.daily, found.monthly, found.debts)}
        counts |= {"billing_modes": len(self.inputs.new_billing_modes), "corrections": self.corrections.height}
        return counts | {"rejects": len(self.rejects)}

    def without(self, users: Collection[str]) -> "BatchChanges":
        """Returns the changes of all users but ``users``. Call before the differences are found."""
        removed = self.users & frozenset(users)
        if not removed:
            return self
        return replace(
            self,
            inputs=self.inputs.without(removed),
            **filter_frames(self, ~of_users(removed)),
            unread=[row for row in self.unread if not row.reversed & removed],
            rejects=[change for change in self.rejects if change.user not in removed],
        )

    def list_changes(self) -> pl.DataFrame:
        """Returns every row that changes (rollups.changes.CHANGES), if the plan is shown or compared; else none."""
        if not self.scope.lists_changes:
            return NO_CHANGES
        found = self.differences
        return pl.concat(
            [
                row_changes.list_billing_modes(self.inputs.new_billing_modes),
                row_changes.list_postings(self.scope, self.postings, self.accounts, self.accounts_after),
                row_changes.list_adopted_draws(self.adopted),
                row_changes.list_usage(self.usage_updates, self.unread),
                found.daily.list_changes(),
                found.monthly.list_changes(),
                found.debts.list_changes(),
                row_changes.list_corrections(self.corrections),
                row_changes.list_rejects(self.rejects),
            ]
        )

    def write(self, connection: Connection, batch_number: int, skipped: Collection[str]) -> None:
        """Writes all changes, in the transaction that has locked the rows. Call after ``find_differences``.

        ``batch_number``: of the batch in rollup.touched_days; ``skipped``: users whose staged rows are not written.
        Raises ConcurrentChangeError if a row is not as expected: the transaction must then be rolled back.
        """
        scope, settings, run_id = self.scope, self.scope.settings, self.run_id
        assert run_id is not None  # noqa: S101
        found = self.differences
        if not self.adopted.is_empty():
            accounts.post_adopted_draws(connection, settings, self.adopted, run_id)
        if not self.postings.is_empty():
            posted = accounts.post_draws(connection, settings, scope.credits, self.postings, run_id)
            if posted["credit_draws"] != self.postings.height:
                raise ConcurrentChangeError(frozenset(self.postings.filter("first")["user_id"]))
        if not self.usage_updates.is_empty():
            if skipped:
                usage_writeback.unstage_users(connection, skipped)
            usage_writeback.write_rows(connection, scope, self.usage_updates)
        usage_writeback.write_unread_rows(connection, scope, self.unread)
        found.daily.write(connection, scope, run_id)
        cluster_rollups.touch_days(connection, scope, run_id, batch_number, found.daily.keys["date"].unique().to_list())
        found.monthly.write(connection, scope, run_id)
        found.debts.write(connection, scope, run_id)
        if entries := self.inputs.new_billing_modes:
            known = billing_mode_history.known_entries_query(entries)
            billing_mode_history.append_entries(connection, settings, known, run_id)
        ledger.append_corrections(connection, settings, self.corrections, scope.reason, run_id)
        rejects.write_rejects(connection, settings, self.rejects)
