"""What a batch changes in every table: computed once, for a dry run as for a run, and then written as it is."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from uuid import UUID

import polars as pl

from jobs.domain.fixed_point_columns import int128
from jobs.domain.schemas import EARLY, PREPAID
from jobs.pipeline import debt_settlement, draw_windows, foreign_draws, row_changes
from jobs.pipeline.batch_input import BatchInput, of_users
from jobs.pipeline.plan import Plan
from jobs.pipeline.rollup_writer import TableDiff, with_left_out
from jobs.postgres import (
    accounts,
    batch_hashes,
    billing_mode_history,
    cluster_rollups,
    ledger,
    rejects,
    rollup_io,
    usage_writeback,
)
from jobs.postgres.connections import Connection
from jobs.postgres.rejects import RejectChange
from jobs.postgres.usage_writeback import ConcurrentChangeError, LostRow
from jobs.rollups import user_rollups
from jobs.rollups.causes import KEY, UNCHANGED, find_causes, keep_closed_months
from jobs.rollups.changes import NONE

OF_USERS = (
    *("rows", "accounts", "after", "adopted", "postings", "usage", "days_target", "months_target"),
    *("settled", "settled_before", "debts_target", "written"),
)


@dataclass(frozen=True, slots=True)
class BatchChanges:
    """``rows``: rated rows with their draws; ``accounts``: before, and ``after`` the ``postings``; ``adopted``: draws
    that enter the ledger before these, without a transaction (schemas.DRAWS; ``read`` has them); ``usage``: rows of
    usage_daily to write (draw_windows.rows_to_write), and ``lost`` ones; what user_daily and user_monthly shall hold,
    the latter's hashes apart; ``settled``: debts, with what is drawn on each, and what rollup.debts shall hold;
    ``settled_before``: those that adopted draws have settled; ``rejects``; ``written``: what writing ``usage`` changes
    in written_hash. Once complete (``completed``): ``daily``, ``monthly`` and ``debts``, what differs in these tables,
    and why user-months of closed months change (``causes``; of a backfill, or where it is only computed, those of open
    ones, too)."""

    plan: Plan
    run_id: int | None
    read: BatchInput
    rows: pl.DataFrame
    accounts: pl.DataFrame
    after: pl.DataFrame
    adopted: pl.DataFrame
    postings: pl.DataFrame
    usage: pl.DataFrame
    lost: Sequence[LostRow]
    days_target: pl.DataFrame
    months_target: pl.DataFrame
    settled: pl.DataFrame
    settled_before: pl.DataFrame
    debts_target: pl.DataFrame
    rejects: Sequence[RejectChange]
    daily: TableDiff | None = None
    monthly: TableDiff | None = None
    debts: TableDiff | None = None
    causes: pl.DataFrame = field(default_factory=lambda: UNCHANGED)
    written: pl.DataFrame = field(default_factory=lambda: pl.DataFrame(schema=usage_writeback.WRITTEN))

    @property
    def users(self) -> frozenset[str]:
        return self.read.users

    @property
    def refilled(self) -> pl.DataFrame:
        """Rows (batch_inputs.MISMATCHED) that showed other credits than the ledger, and show the ledger's again."""
        return self.read.odd

    @property
    def adopted_by_user(self) -> pl.DataFrame:
        """user_id, how many draws were adopted, and their amount (units of 10^-10)."""
        amount = (pl.col("free") + pl.col("purchased")).sum()
        return self.adopted.group_by("user_id").agg(pl.len(), amount.alias("amount"))

    @property
    def corrected(self) -> pl.DataFrame:
        """What goes into rollup.corrections."""
        is_open = pl.col("month").is_in(self.plan.window.open)
        return self.causes.filter(~is_open)

    @property
    def counts(self) -> dict[str, int]:
        """Rows that change, by table; once complete."""
        credits, counts = self.plan.query.read.credits, {"usage_daily": self.usage.height + len(self.lost)}
        if not self.postings.is_empty():
            counts["credit_draws"] = self.postings.height
            counts["user_credits"] = accounts.changed_accounts(self.postings, credits)
            if credits.transactions:
                counts["credit_transactions"] = accounts.changed_transactions(self.postings)
        if not self.adopted.is_empty():
            counts["credit_draws"] = counts.get("credit_draws", 0) + self.adopted.height
        counts |= {diff.table.name: diff.rows for diff in (self.daily, self.monthly, self.debts) if diff is not None}
        counts |= {"billing_modes": len(self.read.new_modes), "corrections": self.corrected.height}
        return counts | {"rejects": len(self.rejects)}

    def without(self, users: Collection[str]) -> "BatchChanges":
        """The same of everybody but ``users``; before it is complete."""
        gone = self.users & frozenset(users)
        if not gone:
            return self
        stay = ~of_users(gone)
        return replace(
            self,
            read=self.read.without(gone),
            **{name: getattr(self, name).filter(stay) for name in OF_USERS},
            lost=[row for row in self.lost if not row.reversed & gone],
            rejects=[change for change in self.rejects if change.user not in gone],
        )

    def completed(self, connection: Connection) -> "BatchChanges":
        """The same with what differs in the roll-ups. Before anything is written: the server computes the hashes of
        what is about to be."""
        read, closed = self.read, sorted(self.plan.window.closed)
        months = self._with_hashes(connection).select(read.months.columns)
        if closed:
            months = keep_closed_months(months.lazy(), read.months.lazy(), closed).collect()
        why = UNCHANGED
        if self.plan.keeps_changes or (self.run_id is None and self.plan.covered_to is not None):
            why = self._causes(connection, self._diff("user_monthly", months, read.months))
        paid_days, unpaid_days = debt_settlement.settled_days(read, pl.concat([self.settled, self.settled_before]))
        paid_months, unpaid_months = debt_settlement.settled_months(
            read, self.settled, self.settled_before, self.written
        )
        days = self.days_target.select(read.days.columns)
        return replace(
            self,
            daily=self._diff("user_daily", pl.concat([days, paid_days]), pl.concat([read.days, unpaid_days])),
            monthly=self._diff(
                "user_monthly", pl.concat([months, paid_months]), pl.concat([read.months, unpaid_months])
            ),
            debts=self._diff("debts", self.debts_target, read.debts),
            causes=pl.concat([why, debt_settlement.settled_causes(paid_months, unpaid_months)]),
        )

    def _diff(self, name: str, target: pl.DataFrame, stored: pl.DataFrame) -> TableDiff:
        return TableDiff.of(rollup_io.table(self.plan.settings, name), target, stored)

    def listed(self) -> pl.DataFrame:
        """Every row that changes (changes.CHANGES), where a plan is shown or compared; once complete."""
        if not self.plan.keeps_changes or self.daily is None or self.monthly is None or self.debts is None:
            return NONE
        return pl.concat(
            [
                row_changes.mode_changes(self.read.new_modes),
                row_changes.posting_changes(self.plan, self.postings, self.accounts, self.after),
                row_changes.adopted_changes(self.adopted),
                row_changes.usage_changes(self.usage, self.lost),
                self.daily.changes(),
                self.monthly.changes(),
                self.debts.changes(),
                row_changes.correction_changes(self.corrected),
                row_changes.reject_changes(self.rejects),
            ]
        )

    def locked(self, connection: Connection, *, alone: bool) -> "tuple[BatchChanges, frozenset[str]]":
        """Locks the rows to be written (``alone``: of one user, whose rows are locked already). Returns these changes
        with ``written``, and the users of whom a row could not be locked."""
        written, missing = self.written, frozenset[str]()
        if not self.usage.is_empty():
            usage_writeback.stage_rows(connection, self.usage)
            written, missing = usage_writeback.lock_rows(connection, self.plan, self.usage, alone=alone)
        missing |= usage_writeback.lock_lost_rows(connection, self.plan, self.lost)
        return replace(self, written=written), missing

    def unlocked(self, connection: Connection) -> "BatchChanges":
        """The same with ``written``; for a dry run."""
        return replace(self, written=usage_writeback.written_changes(connection, self.plan, self.usage))

    def write(self, connection: Connection, batch: int, left: Collection[str]) -> None:
        """Writes all of it; once complete, and its rows locked. ``left``: users whose staged rows are not written.

        Raises ConcurrentChangeError where a row is not what it was taken for: the transaction is to be rolled back.
        """
        plan, run_id = self.plan, self.run_id
        assert run_id is not None  # noqa: S101
        assert self.daily is not None and self.monthly is not None and self.debts is not None  # noqa: S101, PT018
        if not self.adopted.is_empty():
            accounts.enter_adopted(connection, plan.settings, self.adopted, run_id)
        if not self.postings.is_empty():
            credits = plan.query.read.credits
            posted = accounts.post_draws(connection, plan.settings, credits, self.postings, run_id)
            if posted["credit_draws"] != self.postings.height:
                raise ConcurrentChangeError(frozenset(self.postings.filter("first")["user_id"]))
        if not self.usage.is_empty():
            if left:
                usage_writeback.unstage_users(connection, left)
            usage_writeback.write_rows(connection, plan, self.usage)
        usage_writeback.write_lost_rows(connection, plan, self.lost)
        self.daily.write(connection, plan, run_id)
        cluster_rollups.touch_days(connection, plan, run_id, batch, self.daily.keys["date"].unique().to_list())
        self.monthly.write(connection, plan, run_id)
        self.debts.write(connection, plan, run_id)
        if entries := self.read.new_modes:
            billing_mode_history.append_entries(
                connection, plan.settings, billing_mode_history.listed_entries(entries), run_id
            )
        ledger.append_corrections(connection, plan.settings, self.corrected, plan.reason, run_id)
        rejects.write_rejects(connection, plan.settings, self.rejects)

    def _with_hashes(self, connection: Connection) -> pl.DataFrame:
        """What user_monthly shall hold."""
        plan, read = self.plan, self.read
        credits = batch_hashes.credit_hashes(connection, plan, read.users, read.modes, self.postings)
        overridden = self._override_hashes(plan.window.last_of)
        rates = {month: plan.rates_hash(month) for month in plan.window.months}
        # An account that can be used and that was not there when it was looked for has been opened since.
        opened = pl.col("is_usable") & ~of_users(self.accounts["user_id"])
        account = pl.when(~opened).then(pl.col("account_hash").cast(pl.String)).fill_null("-")
        parts = [
            pl.col("modes_hash").fill_null(0).cast(pl.String),
            # Where the account decides nothing it is not in the hash: it may move without making the user differ.
            pl.when("is_paying").then(account).otherwise(pl.lit("")),
            pl.lit(plan.credit_terms),
            pl.col("debts"),
        ]
        user_months = ["user_id", "month"]
        return (
            self.months_target.lazy()
            .join(credits.lazy(), on=user_months, how="left")
            .join(self.written.lazy(), on=user_months, how="left")
            .join(overridden.lazy(), on=user_months, how="left")
            .join(debt_settlement.open_totals(self.debts_target).lazy(), on="user_id", how="left")
            .join(self._paying.lazy().with_columns(is_paying=True), on=user_months, how="left")
            .with_columns(
                written_hash=pl.col("written_hash").xor(pl.col("changed").fill_null(0)),
                rates_hash=pl.col("month").replace_strict(rates, return_dtype=pl.String),
                credits_hash=pl.concat_str(parts, separator=".", ignore_nulls=True),
            )
            .drop("rows", "changed", "modes_hash", "account_hash", "is_usable", "is_paying", "debts")
            .collect()
        )

    def _as_covered(self, changed: pl.LazyFrame) -> pl.LazyFrame:
        """``changed`` with the hashes of covered days alone: usage, prices and overrides of new days are no cause of
        what covered days change."""
        plan, user_months = self.plan, ["user_id", "month"]
        if plan.new_days is None:
            return changed
        rates = {month: plan.rates_hash(month, plan.last_covered(month)) for month in plan.window.months}
        rows = pl.concat(
            part.lazy().select(pl.col("user_id").cast(pl.String), "date", "usage_hash")
            for part in (self.read.rated, self.read.unpriced)
        ).filter(pl.col("date") > plan.covered_to)
        new = rows.group_by("user_id", pl.col("date").dt.month_start().alias("month")).agg(
            pl.col("usage_hash").bitwise_xor().alias("new_usage")
        )
        overridden = self._override_hashes(plan.last_covered).lazy()
        return (
            changed.drop("overrides_hash")
            .join(overridden, on=user_months, how="left")
            .join(new, on=user_months, how="left")
            .with_columns(
                rates_hash=pl.col("month").replace_strict(rates, return_dtype=pl.String),
                usage_hash=pl.col("usage_hash").xor(pl.col("new_usage").fill_null(0)),
            )
        )

    def _override_hashes(self, last: Callable[[date], date]) -> pl.DataFrame:
        """By user and month a hash of the overrides of its days up to ``last`` of it."""
        rows = [
            {"user_id": user, "month": month, "overrides_hash": digest}
            for month in self.plan.window.months
            for user, digest in self.plan.overrides.digests(month, last(month)).items()
        ]
        return pl.DataFrame(rows, schema={"user_id": pl.String, "month": pl.Date, "overrides_hash": pl.String})

    @property
    def _paying(self) -> pl.DataFrame:
        """The user-months whose account decides how they pay: those with prepaid rows, or with draws that stay."""
        user_months = ["user_id", "month"]
        prepaid = self.rows.filter(pl.col("class").is_in([PREPAID, EARLY]))
        paying = prepaid.select(pl.col("user_id").cast(pl.String), "month").unique()
        month = pl.col("date").dt.month_start().alias("month")
        # What is drawn on debts is of months that stay as they are.
        posted = self.postings.filter(pl.col("month").is_in(self.plan.window.months))
        drawn = pl.concat(
            part.select("id", "user_id", when, "free", "purchased")
            for part, when in ((self.read.draws, month), (posted, pl.col("month")))
        ).join(paying, on=user_months, how="anti")
        stay = drawn.group_by("id", *user_months).agg(pl.col("free", "purchased").sum())
        stay = stay.filter((pl.col("free") != 0) | (pl.col("purchased") != 0)).select(user_months).unique()
        # A month without rows has no hash of its own. So the account is put into those of the user's other months:
        # when it can be used again, these differ, and the draws are reversed.
        targets = self.months_target.select(user_months)
        waiting = stay.join(targets, on=user_months, how="anti")
        others = targets.join(waiting, on="user_id", how="semi")
        return pl.concat([paying, stay, others]).unique()

    def _causes(self, connection: Connection, monthly: TableDiff) -> pl.DataFrame:
        keys = monthly.keys.select(KEY)
        before = batch_hashes.accounts_before(connection, self.plan, keys, self.run_id)
        changed = (
            keys.lazy()
            .join(monthly.put.lazy(), on=KEY, how="left")
            .join(monthly.stored.lazy(), on=KEY, how="left", suffix="_held")
            .join(before.lazy(), on=KEY, how="left")
        )
        changed = self._as_covered(changed)
        # A month of the first edition gets hashes and columns that it had not: that is no change of it.
        renewed = monthly.stored.lazy().filter(pl.col("row_count").is_null()).select(*KEY, renewed=pl.lit(value=True))
        same = (pl.col("old_total") == pl.col("new_total")) & (
            pl.col("old_credits_deducted") == pl.col("new_credits_deducted")
        )
        meters = [meter.name for meter in self.plan.settings.meters]
        repriced = {month: self.plan.repriced(month) for month in self.plan.window.months}
        found = find_causes(changed, meters, repriced).join(renewed, on=KEY, how="left")
        return found.filter(~(same & pl.col("renewed").fill_null(value=False))).drop("renewed").sort(KEY).collect()


def compute_changes(
    connection: Connection,
    plan: Plan,
    run_id: int | None,
    read: BatchInput,
    account_rows: pl.DataFrame,
    *,
    first: bool = False,
) -> BatchChanges:
    """What is to change for the users of ``read``, whose accounts are ``account_rows`` (schemas.ACCOUNTS).

    ``first``: a row that shows no credits and has no draws in the window is taken for one that never had any: were
    there one, posting it would find out. Reads rows of usage_daily and rollup.rejects besides.
    """
    adopted = foreign_draws.adopted_draws(connection, plan, read, account_rows)
    dropped = foreign_draws.dropped_draws(plan, read)
    payable, settled_before = debt_settlement.adopt_debts(read.payable, adopted)
    here = adopted.join(settled_before, on=["id", "date"], how="anti")
    read = replace(
        read,
        draws=pl.concat([read.draws, here, dropped]),
        mismatched=foreign_draws.as_adopted(read.mismatched, adopted),
        odd_debts=foreign_draws.as_adopted(read.odd_debts, adopted),
        payable=payable,
    )
    rows, due, settled = draw_windows.allocate(plan, read, account_rows)
    known = read.mismatched["id"]
    is_first = pl.col("fresh") & ~pl.col("vanished") if first else pl.lit(value=False)
    due = due.with_columns(first=is_first)
    if first and len(known):
        odd = due.join(known.to_frame(), on="id", how="semi").with_columns(first=pl.lit(value=False))
        due = pl.concat([due.join(known.to_frame(), on="id", how="anti"), odd]).sort("user_id", "date", "id", "month")
    vanished = due.filter("vanished")
    due = pl.concat([due, debt_settlement.settled_postings(settled, due.columns)])
    shall_show = pl.concat([settled, debt_settlement.refilled_debts(payable, read.odd_debts, settled)])
    usage = draw_windows.rows_to_write(plan, rows, read.unpriced, due, read.mismatched)
    ids = [str(UUID(int=id_)) for id_ in read.unpriced["id"]]
    found = rejects.read_rejects(connection, plan.query, ids)
    spans = plan.window.spans()
    return BatchChanges(
        plan=plan,
        run_id=run_id,
        read=read,
        rows=rows,
        accounts=account_rows,
        after=draw_windows.apply_postings(plan, account_rows, due),
        adopted=pl.concat([adopted, dropped]),
        postings=due,
        usage=pl.concat([usage, debt_settlement.settled_rows(plan, shall_show).select(usage.columns)]),
        lost=usage_writeback.lost_rows(connection, plan, vanished),
        days_target=days_target(plan, rows),
        months_target=months_target(plan, read, rows),
        settled=settled,
        settled_before=settled_before,
        debts_target=debt_settlement.debts_target(plan, read, rows, pl.concat([settled, settled_before]), due["id"]),
        rejects=rejects.changes_of_users(connection, plan.settings, found, read.users, spans),
    )


def days_target(plan: Plan, rows: pl.DataFrame) -> pl.DataFrame:
    """What user_daily shall hold of rated rows with their draws."""
    return with_left_out(user_rollups.user_days(rows.lazy(), plan.meters), plan, monthly=False).collect()


def months_target(plan: Plan, read: BatchInput, rows: pl.DataFrame) -> pl.DataFrame:
    """What user_monthly shall hold, its hashes of credits, overrides and prices apart; with ``unpriced``.

    A user all of whose rows are rejected has a row of zeros: it says that he was looked at.
    """
    sums = with_left_out(user_rollups.user_months(rows.lazy(), plan.meters), plan, monthly=True)
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
            currency=pl.col("month").replace_strict(plan.currencies, return_dtype=pl.String),
        )
        .collect()
    )
