"""Totals of the batches of a run, for its end, its summary and its plan. Does not import polars."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import astuple, dataclass, field
from typing import TYPE_CHECKING

from jobs.postgres import rejects

if TYPE_CHECKING:
    import polars as pl

    from jobs.pipeline.batches import BatchResult
    from jobs.pipeline.change_sums import ChangeSums
    from jobs.pipeline.cluster_tables import ClusterDeltas
    from jobs.pipeline.plan_approval import ChangeRecorder

BATCH_TABLES = (
    *("billing_modes", "credit_draws", "credit_transactions"),
    *("user_credits", "usage_daily", "user_daily", "user_monthly", "debts", "corrections"),
)
"""Tables that batches write, in the order in which they are reported."""


@dataclass(frozen=True, slots=True)
class PostedTotals:
    """What batches have posted; amounts in units of 10^-10.

    ``free``, ``purchased``: net draws of ``users``; of these ``taken`` and ``given_back`` (negative) by corrections of
    rows that had draws before; ``reassigned_rows``: corrections between free and purchased only; ``settled_amount``: of
    debts.
    """

    users: int = 0
    free: int = 0
    purchased: int = 0
    taken_rows: int = 0
    taken: int = 0
    given_back_rows: int = 0
    given_back: int = 0
    reassigned_rows: int = 0
    settled_amount: int = 0

    def __add__(self, other: "PostedTotals") -> "PostedTotals":
        return PostedTotals(*(mine + theirs for mine, theirs in zip(astuple(self), astuple(other), strict=True)))


@dataclass(slots=True)
class Totals:
    """The totals of a run.

    - ``users_recomputed``: how many users were recomputed; one who was recomputed twice counts twice;
    - ``skipped``: users who could not be written, because another transaction had locked or changed a row of theirs;
    - ``set_aside``: users who cannot be written, and why; ``unexplained``: those of them with unexplained credits;
    - ``ownerless``: rows without a user or a day;
    - ``rejects_added``: rows that became rejected, less those that healed; ``reject_ids``: rows whose entry in
      rollup.rejects the batches change;
    - ``changed``: rows by table; ``posted``: to ledger and accounts;
    - ``settled_users``: users whose debts were paid, at least in part;
    - ``refilled``: rows whose credits_deducted was written again as the ledger has it; ``trusted``: their users, where
      ``--trust-ledger`` names them;
    - ``adopted_by_user``: how many rows ``--adopt`` entered in the ledger, and their amount (units of 10^-10);
    - ``unusable``: users whose accounts have invalid amounts; ``holding_up``: those whose accounts prevent a month from
      being closed;
    - ``continues``: the unfinished backfill of the same days, and its status.

    Of a dry run: ``deltas``; ``month_frames``: target and stored rows of user_monthly that change; ``sums`` for the
    change check. Of a backfill: ``recorder``, and ``users`` who were recomputed.
    """

    users_recomputed: int = 0
    skipped: set[str] = field(default_factory=set)
    set_aside: dict[str, str] = field(default_factory=dict)
    rows_read: int = 0
    unpriced: int = 0
    ownerless: int = 0
    rejects_added: int = 0
    changed: Counter[str] = field(default_factory=lambda: Counter(dict.fromkeys(BATCH_TABLES, 0)))
    posted: PostedTotals = PostedTotals()
    settled_users: set[str] = field(default_factory=set)
    unexplained: set[str] = field(default_factory=set)
    refilled: int = 0
    adopted_by_user: dict[str, tuple[int, int]] = field(default_factory=dict)
    trusted: set[str] = field(default_factory=set)
    reject_ids: set[str] = field(default_factory=set)
    unusable: list[str] = field(default_factory=list)
    holding_up: Sequence[str] = ()
    notes: list[str] = field(default_factory=list)
    continues: tuple[int, str] | None = None
    deltas: "ClusterDeltas | None" = None
    month_frames: "list[tuple[pl.DataFrame, pl.DataFrame]]" = field(default_factory=list)
    sums: "ChangeSums | None" = None
    recorder: "ChangeRecorder | None" = None
    users: set[str] = field(default_factory=set)

    @property
    def is_dry_run(self) -> bool:
        return self.deltas is not None

    @property
    def not_written(self) -> set[str]:
        """Users who differ, and for whom this run has written nothing."""
        return self.skipped | self.set_aside.keys()

    def add(self, result: "BatchResult") -> None:
        """Adds the result of a batch, written or computed."""
        self.users_recomputed += len(result.done)
        if self.recorder is not None:
            self.users |= result.done
        self.skipped = (self.skipped | result.skipped) - result.done
        if result.refused is not None and len(result.skipped) == 1:
            self.set_aside |= dict.fromkeys(result.skipped, result.refused)
        self.set_aside |= result.unexplained
        self.unexplained = (self.unexplained | result.unexplained.keys()) - result.done
        for user in result.done & self.set_aside.keys():
            del self.set_aside[user]
        self.skipped -= self.set_aside.keys()
        self.rows_read += result.rows_read
        changes = result.changes
        if changes is None:
            return
        targets = changes.targets
        self.changed.update(changes.counts)
        self.reject_ids.update(change.id for change in targets.rejects)
        self.rejects_added += sum(map(rejects.count_change, targets.rejects))
        self.unpriced += int(targets.months["lacks_recorded"].sum())
        self.posted += sum_postings(targets.postings, targets.settled_debts)
        self.settled_users |= set(targets.settled_debts["user_id"])
        for user, rows, amount in targets.adopted_by_user.iter_rows():
            self.adopted_by_user[user] = (rows, amount)
        self.refilled += targets.refilled_rows.height
        self.trusted |= {*targets.refilled_rows["user_id"].cast(str)} & targets.scope.trusted_ledger_users
        if self.deltas is not None:
            self.deltas.add(changes)
            # Closed months, in which only debts are settled, are left out.
            in_window = changes.months.upserts["month"].is_in(targets.scope.window.months)
            before = targets.inputs.stored_months.join(changes.months.keys, on=["month", "user_id"], how="semi")
            self.month_frames.append((changes.months.upserts.filter(in_window), before))
        if self.sums is not None:
            self.sums.add(changes)
        if self.recorder is not None:
            self.recorder.add_batch(changes.list_changes(), changes.causes)


def sum_postings(postings: "pl.DataFrame", settled_debts: "pl.DataFrame") -> PostedTotals:
    """Returns the totals of ``postings`` (credits.allocation), of which those of ``settled_debts`` are a part."""
    if postings.is_empty():
        return PostedTotals()
    amount = postings["free"] + postings["purchased"]
    is_correction = ~postings["is_first_draw"]
    taken, back = amount.filter(is_correction & (amount > 0)), amount.filter(is_correction & (amount < 0))
    return PostedTotals(
        users=postings["user_id"].n_unique(),
        free=int(postings["free"].sum()),
        purchased=int(postings["purchased"].sum()),
        taken_rows=len(taken),
        taken=int(taken.sum()),
        given_back_rows=len(back),
        given_back=int(back.sum()),
        reassigned_rows=int((is_correction & (amount == 0)).sum()),
        settled_amount=int((settled_debts["free"] + settled_debts["purchased"]).sum()),
    )
