"""What the batches of a run add up to: for its end, for its summary, for its plan. No polars at import."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from jobs.postgres import rejects

if TYPE_CHECKING:
    import polars as pl

    from jobs.pipeline.batch import BatchResult
    from jobs.pipeline.batch_changes import BatchChanges
    from jobs.pipeline.change_sums import ChangeSums
    from jobs.pipeline.cluster_tables import ClusterDeltas
    from jobs.pipeline.plan_approval import ChangeRecorder

BEFORE_THE_END = (
    *("billing_modes", "credit_draws", "credit_transactions"),
    *("user_credits", "usage_daily", "user_daily", "user_monthly", "debts", "corrections"),
)
"""The tables that are written before the end of a run, in this order."""


@dataclass(slots=True)
class Totals:
    """``recomputed``: how many users were (one who was twice counts twice); ``left``: users who could not be had,
    because another transaction held a row of theirs; ``set_aside``: users of whom nothing can be written, and why;
    ``foreign``: those of them whose rows show credits that nothing explains; ``refilled``: rows that show the ledger's
    credits again; ``adopted``: by user how many rows entered the ledger, and their amount (units of 10^-10);
    ``trusted``: users whose rows show what the ledger has; ``ownerless``: rows without a user or a day; ``rejected``:
    rows that are rejected now and were not before, less those healed; ``reject_ids``: rows of which batches change what
    rejects has; ``changed``: rows by table; ``posted``: users, rows and amounts (units of 10^-10) by kind of entry;
    ``settled``: users whose debts were paid, at least in part. Of a dry run ``deltas``, and ``months``: what
    user_monthly would hold where it changes, and what it holds there, and ``sums`` for the change check; of a backfill
    ``recorder``, and ``users``: who was recomputed."""

    recomputed: int = 0
    left: set[str] = field(default_factory=set)
    set_aside: dict[str, str] = field(default_factory=dict)
    rows_read: int = 0
    unpriced: int = 0
    ownerless: int = 0
    rejected: int = 0
    changed: Counter[str] = field(default_factory=lambda: Counter(dict.fromkeys(BEFORE_THE_END, 0)))
    posted: Counter[str] = field(default_factory=Counter)
    settled: set[str] = field(default_factory=set)
    foreign: set[str] = field(default_factory=set)
    refilled: int = 0
    adopted: dict[str, tuple[int, int]] = field(default_factory=dict)
    trusted: set[str] = field(default_factory=set)
    reject_ids: set[str] = field(default_factory=set)
    unusable: list[str] = field(default_factory=list)
    holding_up: Sequence[str] = ()
    """Users whose accounts keep a month open that was to be closed."""
    notes: list[str] = field(default_factory=list)
    continues: tuple[int, str] | None = None
    """The backfill of the same days that did not come to its end, and how it ended."""
    deltas: "ClusterDeltas | None" = None
    months: "list[tuple[pl.DataFrame, pl.DataFrame]]" = field(default_factory=list)
    sums: "ChangeSums | None" = None
    recorder: "ChangeRecorder | None" = None
    users: set[str] = field(default_factory=set)

    @property
    def not_written(self) -> set[str]:
        """Users of whom this run has written nothing although they differ."""
        return self.left | self.set_aside.keys()

    def add(self, result: "BatchResult") -> None:
        """Takes what a batch did."""
        self.recomputed += len(result.done)
        if self.recorder is not None:
            self.users |= result.done
        self.left = (self.left | result.left) - result.done
        if result.refused is not None and len(result.left) == 1:
            self.set_aside |= dict.fromkeys(result.left, result.refused)
        self.set_aside |= result.foreign
        self.foreign = (self.foreign | result.foreign.keys()) - result.done
        for user in result.done & self.set_aside.keys():
            del self.set_aside[user]
        self.left -= self.set_aside.keys()
        self.rows_read += result.rows_read
        changes = result.changes
        if changes is None:
            return
        self.changed.update(changes.counts)
        self.reject_ids.update(change.id for change in changes.rejects)
        self.rejected += sum(map(rejects.count_change, changes.rejects))
        self.unpriced += int(changes.months_target["unpriced"].sum())
        self.posted.update(_posted(changes.postings))
        self.posted["settled"] += int((changes.settled["free"] + changes.settled["purchased"]).sum())
        self.settled |= set(changes.settled["user_id"])
        self._add_remedied(changes)
        if self.deltas is not None and changes.monthly is not None:
            self.deltas.add(changes)
            # Without closed months of which debts are settled.
            window = changes.monthly.put["month"].is_in(changes.plan.window.months)
            before = changes.read.months.join(changes.monthly.keys, on=["month", "user_id"], how="semi")
            self.months.append((changes.monthly.put.filter(window), before))
        if self.sums is not None:
            self.sums.add(changes)
        if self.recorder is not None:
            self.recorder.add_batch(changes.listed(), changes.causes)

    def _add_remedied(self, changes: "BatchChanges") -> None:
        for user, rows, amount in changes.adopted_by_user.iter_rows():
            self.adopted[user] = (rows, amount)
        self.refilled += changes.refilled.height
        self.trusted |= {*changes.refilled["user_id"].cast(str)} & changes.plan.trusting


def _posted(postings: "pl.DataFrame") -> dict[str, int]:
    """What was posted: new draws, and corrections by direction."""
    if postings.is_empty():
        return {}
    rows = postings.with_columns(amount=postings["free"] + postings["purchased"])
    corrected = rows.filter(~rows["fresh"])
    taken, back = corrected.filter(corrected["amount"] > 0), corrected.filter(corrected["amount"] < 0)
    return {
        "users": postings["user_id"].n_unique(),
        "free": int(postings["free"].sum()),
        "purchased": int(postings["purchased"].sum()),
        "taken rows": taken.height,
        "taken": int(taken["amount"].sum()),
        "given back rows": back.height,
        "given back": int(back["amount"].sum()),
        "reassigned rows": corrected.height - taken.height - back.height,
    }
