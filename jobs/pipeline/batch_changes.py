"""The changes of a batch in every table. They are computed first, in a run as in a dry run, and then written."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from uuid import UUID

import polars as pl

from jobs.domain.fixed_point_columns import int128
from jobs.pipeline import debt_settlement, draw_windows, foreign_draws, month_hashes, row_changes
from jobs.pipeline.batch_input import BatchInput, of_users
from jobs.pipeline.rollup_writer import TableDiff, add_left_out_meters
from jobs.postgres import (
    accounts,
    billing_mode_history,
    cluster_rollups,
    ledger,
    rejects,
    rollup_io,
    usage_writeback,
)
from jobs.postgres.connections import Connection
from jobs.postgres.rejects import RejectChange
from jobs.postgres.run_scope import RunScope
from jobs.postgres.usage_writeback import ConcurrentChangeError, LostRow
from jobs.rollups import user_rollups
from jobs.rollups.causes import NO_CAUSES, keep_closed_months
from jobs.rollups.changes import NO_CHANGES

USER_FRAMES = (
    *("rows", "accounts", "accounts_after", "adopted", "postings", "usage", "days_target", "months_target"),
    *("settled_debts", "debts_settled_by_adoption", "debts_target", "written_hashes"),
)


@dataclass(frozen=True, slots=True)
class BatchChanges:
    """The changes of one batch.

    - ``rows``: rated rows with their draws;
    - ``accounts``, ``accounts_after``: before and after ``postings`` (schemas.ACCOUNTS);
    - ``adopted``: draws that ``--adopt`` enters in the ledger without a transaction (schemas.DRAWS); ``read`` has them;
    - ``usage``: rows of usage_daily to write (``draw_windows.select_rows_to_write``); ``lost``: rows whose draws
      are reversed and that are in no batch of a present user;
    - ``days_target``, ``months_target``: target rows of user_daily and user_monthly, without hashes;
    - ``settled_debts``: debts that credit settles, with what is drawn on each; ``debts_settled_by_adoption``: those
      that adopted draws settle; ``debts_target``: target rows of rollup.debts;
    - ``written_hashes``: what writing ``usage`` changes in written_hash, by user and month.

    Set by ``complete``:

    - ``daily``, ``monthly``, ``debts``: differences from the stored rows;
    - ``causes``: why user-months of closed months change; of a backfill and of a dry run, those of open months too.
    """

    scope: RunScope
    run_id: int | None
    read: BatchInput
    rows: pl.DataFrame
    accounts: pl.DataFrame
    accounts_after: pl.DataFrame
    adopted: pl.DataFrame
    postings: pl.DataFrame
    usage: pl.DataFrame
    lost: Sequence[LostRow]
    days_target: pl.DataFrame
    months_target: pl.DataFrame
    settled_debts: pl.DataFrame
    debts_settled_by_adoption: pl.DataFrame
    debts_target: pl.DataFrame
    rejects: Sequence[RejectChange]
    daily: TableDiff | None = None
    monthly: TableDiff | None = None
    debts: TableDiff | None = None
    causes: pl.DataFrame = field(default_factory=lambda: NO_CAUSES)
    written_hashes: pl.DataFrame = field(default_factory=lambda: pl.DataFrame(schema=usage_writeback.WRITTEN))

    @property
    def users(self) -> frozenset[str]:
        return self.read.users

    @property
    def refilled_rows(self) -> pl.DataFrame:
        """Rows whose credits_deducted is written again as the ledger has it (batch_inputs.MISMATCHED)."""
        return self.read.unexplained_rows

    @property
    def adopted_by_user(self) -> pl.DataFrame:
        """Adopted draws by user: user_id, how many there are, and their amount (units of 10^-10)."""
        amount = (pl.col("free") + pl.col("purchased")).sum()
        return self.adopted.group_by("user_id").agg(pl.len(), amount.alias("amount"))

    @property
    def corrections(self) -> pl.DataFrame:
        """The causes that go into rollup.corrections: those of closed months."""
        is_open = pl.col("month").is_in(self.scope.window.open)
        return self.causes.filter(~is_open)

    @property
    def counts(self) -> dict[str, int]:
        """How many rows change, by table. Call after ``complete``."""
        credits, counts = self.scope.query.source.credits, {"usage_daily": self.usage.height + len(self.lost)}
        if not self.postings.is_empty():
            counts["credit_draws"] = self.postings.height
            counts["user_credits"] = accounts.count_changed_accounts(self.postings, credits)
            if credits.has_transactions:
                counts["credit_transactions"] = accounts.count_transactions(self.postings)
        if not self.adopted.is_empty():
            counts["credit_draws"] = counts.get("credit_draws", 0) + self.adopted.height
        counts |= {diff.table.name: diff.rows for diff in (self.daily, self.monthly, self.debts) if diff is not None}
        counts |= {"billing_modes": len(self.read.new_billing_modes), "corrections": self.corrections.height}
        return counts | {"rejects": len(self.rejects)}

    def without(self, users: Collection[str]) -> "BatchChanges":
        """Returns the changes of all users but ``users``. Call before ``complete``."""
        removed = self.users & frozenset(users)
        if not removed:
            return self
        others = ~of_users(removed)
        return replace(
            self,
            read=self.read.without(removed),
            **{name: getattr(self, name).filter(others) for name in USER_FRAMES},
            lost=[row for row in self.lost if not row.reversed & removed],
            rejects=[change for change in self.rejects if change.user not in removed],
        )

    def complete(self, connection: Connection) -> "BatchChanges":
        """Returns the changes with the differences of the roll-ups. Call before anything is written.

        The server computes hashes of stored rows for it.
        """
        read, closed = self.read, sorted(self.scope.window.closed)
        months = month_hashes.add_hashes(connection, self).select(read.months.columns)
        if closed:
            months = keep_closed_months(months.lazy(), read.months.lazy(), closed).collect()
        causes = NO_CAUSES
        if self.scope.keeps_changes or (self.run_id is None and self.scope.covered_to is not None):
            causes = month_hashes.find_month_causes(connection, self, self._diff("user_monthly", months, read.months))
        paid_days, unpaid_days = debt_settlement.settle_days(
            read, pl.concat([self.settled_debts, self.debts_settled_by_adoption])
        )
        paid_months, unpaid_months = debt_settlement.settle_months(
            read, self.settled_debts, self.debts_settled_by_adoption, self.written_hashes
        )
        days = self.days_target.select(read.days.columns)
        return replace(
            self,
            daily=self._diff("user_daily", pl.concat([days, paid_days]), pl.concat([read.days, unpaid_days])),
            monthly=self._diff(
                "user_monthly", pl.concat([months, paid_months]), pl.concat([read.months, unpaid_months])
            ),
            debts=self._diff("debts", self.debts_target, read.debts),
            causes=pl.concat([causes, debt_settlement.find_debt_causes(paid_months, unpaid_months)]),
        )

    def _diff(self, name: str, target: pl.DataFrame, stored: pl.DataFrame) -> TableDiff:
        return TableDiff.of(rollup_io.find_table(self.scope.settings, name), target, stored)

    def list_changes(self) -> pl.DataFrame:
        """Returns every row that changes (rollups.changes.CHANGES), if the plan is shown or compared; else none.

        Call after ``complete``.
        """
        if not self.scope.keeps_changes or self.daily is None or self.monthly is None or self.debts is None:
            return NO_CHANGES
        return pl.concat(
            [
                row_changes.list_billing_modes(self.read.new_billing_modes),
                row_changes.list_postings(self.scope, self.postings, self.accounts, self.accounts_after),
                row_changes.list_adopted_draws(self.adopted),
                row_changes.list_usage(self.usage, self.lost),
                self.daily.list_changes(),
                self.monthly.list_changes(),
                self.debts.list_changes(),
                row_changes.list_corrections(self.corrections),
                row_changes.list_rejects(self.rejects),
            ]
        )

    def lock_rows(self, connection: Connection, *, alone: bool) -> "tuple[BatchChanges, frozenset[str]]":
        """Locks the rows to be written. Returns the changes with ``written_hashes``, and users with unlocked rows.

        ``alone``: whether the batch is one user whose rows are locked already.
        """
        written, missing = self.written_hashes, frozenset[str]()
        if not self.usage.is_empty():
            usage_writeback.stage_rows(connection, self.usage)
            written, missing = usage_writeback.lock_rows(connection, self.scope, self.usage, alone=alone)
        missing |= usage_writeback.lock_lost_rows(connection, self.scope, self.lost)
        return replace(self, written_hashes=written), missing

    def with_written_hashes(self, connection: Connection) -> "BatchChanges":
        """Returns the changes with ``written_hashes``; for a dry run, which locks nothing."""
        return replace(self, written_hashes=usage_writeback.compute_written_changes(connection, self.scope, self.usage))

    def write(self, connection: Connection, batch: int, skipped: Collection[str]) -> None:
        """Writes all changes. Call after ``complete`` and ``lock_rows``.

        ``batch``: its number in rollup.touched_days; ``skipped``: users whose staged rows are not written. Raises
        ConcurrentChangeError if a row is not as expected: the transaction must then be rolled back.
        """
        scope, run_id = self.scope, self.run_id
        assert run_id is not None  # noqa: S101
        assert self.daily is not None and self.monthly is not None and self.debts is not None  # noqa: S101, PT018
        if not self.adopted.is_empty():
            accounts.post_adopted_draws(connection, scope.settings, self.adopted, run_id)
        if not self.postings.is_empty():
            credits = scope.query.source.credits
            posted = accounts.post_draws(connection, scope.settings, credits, self.postings, run_id)
            if posted["credit_draws"] != self.postings.height:
                raise ConcurrentChangeError(frozenset(self.postings.filter("first")["user_id"]))
        if not self.usage.is_empty():
            if skipped:
                usage_writeback.unstage_users(connection, skipped)
            usage_writeback.write_rows(connection, scope, self.usage)
        usage_writeback.write_lost_rows(connection, scope, self.lost)
        self.daily.write(connection, scope, run_id)
        cluster_rollups.touch_days(connection, scope, run_id, batch, self.daily.keys["date"].unique().to_list())
        self.monthly.write(connection, scope, run_id)
        self.debts.write(connection, scope, run_id)
        if entries := self.read.new_billing_modes:
            billing_mode_history.append_entries(
                connection, scope.settings, billing_mode_history.known_entries_query(entries), run_id
            )
        ledger.append_corrections(connection, scope.settings, self.corrections, scope.reason, run_id)
        rejects.write_rejects(connection, scope.settings, self.rejects)


def compute_changes(
    connection: Connection,
    scope: RunScope,
    run_id: int | None,
    read: BatchInput,
    account_rows: pl.DataFrame,
    *,
    first: bool = False,
) -> BatchChanges:
    """Computes the changes for the users of ``read``. Reads rows of usage_daily and rollup.rejects.

    - ``run_id``: None in a dry run;
    - ``account_rows``: the accounts of these users (schemas.ACCOUNTS);
    - ``first``: whether a row without credits_deducted and without draws in the window counts as one that never had
      draws. If it had, posting fails and raises ConcurrentChangeError.
    """
    adopted = foreign_draws.make_adopted_draws(connection, scope, read, account_rows)
    dropped = foreign_draws.make_dropped_draws(scope, read)
    payable, debts_settled_by_adoption = debt_settlement.adopt_debts(read.payable, adopted)
    in_window = adopted.join(debts_settled_by_adoption, on=["id", "date"], how="anti")
    read = replace(
        read,
        draws=pl.concat([read.draws, in_window, dropped]),
        mismatched=foreign_draws.explain_adopted(read.mismatched, adopted),
        mismatched_debts=foreign_draws.explain_adopted(read.mismatched_debts, adopted),
        payable=payable,
    )
    allocated = draw_windows.allocate(scope, read, account_rows)
    rows, settled = allocated.rows, allocated.settled_debts
    postings = _mark_first(allocated.postings, read.mismatched, first=first)
    vanished = postings.filter("vanished")
    postings = pl.concat([postings, debt_settlement.make_debt_postings(settled, postings.columns)])
    refilled = debt_settlement.select_refilled_debts(payable, read.mismatched_debts, settled)
    usage = draw_windows.select_rows_to_write(scope, rows, read.rejected, postings, read.mismatched)
    debt_usage = debt_settlement.select_debt_rows_to_write(scope, pl.concat([settled, refilled]))
    ids = [str(UUID(int=id_)) for id_ in read.rejected["id"]]
    rejected = rejects.read_rejects(connection, scope.query, ids)
    spans = scope.window.spans()
    return BatchChanges(
        scope=scope,
        run_id=run_id,
        read=read,
        rows=rows,
        accounts=account_rows,
        accounts_after=draw_windows.apply_postings(scope, account_rows, postings),
        adopted=pl.concat([adopted, dropped]),
        postings=postings,
        usage=pl.concat([usage, debt_usage.select(usage.columns)]),
        lost=usage_writeback.find_lost_rows(connection, scope, vanished),
        days_target=compute_days_target(scope, rows),
        months_target=compute_months_target(scope, read, rows),
        settled_debts=settled,
        debts_settled_by_adoption=debts_settled_by_adoption,
        debts_target=debt_settlement.compute_debts_target(
            scope, read, rows, pl.concat([settled, debts_settled_by_adoption]), postings["id"]
        ),
        rejects=rejects.find_user_changes(connection, scope.settings, rejected, read.users, spans),
    )


def _mark_first(postings: pl.DataFrame, mismatched: pl.DataFrame, *, first: bool) -> pl.DataFrame:
    """Adds ``first``: whether the posting counts as the first draw of its row.

    A mismatched row may have draws in other months, so its posting never counts as the first.
    """
    if not first:
        return postings.with_columns(first=pl.lit(value=False))
    known = mismatched.select("id", is_mismatched=pl.lit(value=True)).unique()
    is_first = pl.col("fresh") & ~pl.col("vanished") & pl.col("is_mismatched").is_null()
    return (
        postings.join(known, on="id", how="left", maintain_order="left")
        .with_columns(first=is_first)
        .drop("is_mismatched")
    )


def compute_days_target(scope: RunScope, rows: pl.DataFrame) -> pl.DataFrame:
    """Returns the target rows of user_daily; ``rows``: rated, with their draws."""
    return add_left_out_meters(user_rollups.sum_user_days(rows.lazy(), scope.meters), scope, monthly=False).collect()


def compute_months_target(scope: RunScope, read: BatchInput, rows: pl.DataFrame) -> pl.DataFrame:
    """Returns the target rows of user_monthly without the hashes of credits, overrides and prices; with ``unpriced``.

    A user all of whose rows are rejected has a row of zeros, which says that these rows were processed.
    """
    sums = add_left_out_meters(user_rollups.sum_user_months(rows.lazy(), scope.meters), scope, monthly=True)
    schema = sums.collect_schema()
    zeros = [
        pl.col(name).fill_null(int128(0) if kind == pl.Int128 else pl.lit(0, dtype=kind))
        for name, kind in schema.items()
        if kind.is_integer()
    ]
    return (
        read.fingerprints.lazy()
        .join(sums, on=["user_id", "month"], how="left")
        .with_columns(
            *zeros,
            pl.col("clusters").fill_null("{}"),
            currency=pl.col("month").replace_strict(scope.currencies, return_dtype=pl.String),
        )
        .collect()
    )
