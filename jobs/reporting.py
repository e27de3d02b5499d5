"""What a run says of itself when it is over (model.report)."""

from collections.abc import Mapping
from datetime import date
from uuid import UUID

import polars as pl

from jobs.model.report import Change, MonthChange, PlanReport, Report
from jobs.model.scale import unscaled
from jobs.plan import Plan
from jobs.reading import Reading
from jobs.store.adoption import Adopted
from jobs.sums import Sums

FIGURES = ["old_total", "new_total", "old_credits", "new_credits"]
NOTHING = dict.fromkeys(("users", *FIGURES), 0)


def reported(
    seconds: Mapping[str, float], plan: Plan, run_id: int | None, reading: Reading, sums: Sums, adopted: Adopted | None
) -> Report:
    notes = [*plan.notes, *([adopted.note] if adopted else [])]
    if sums.unusable:
        notes.append(
            f"user_credits of {', '.join(sums.unusable)}: amounts that are no numbers; nothing is drawn on these, nor "
            "given back, until they are corrected"
        )
    if sums.foreign:
        some = ", ".join(str(UUID(int=id_)) for id_ in sorted(sums.foreign)[:3])
        notes.append(
            f"credits_deducted of {len(sums.foreign):,} rows ({some}) was not what the ledger says, and was put right: "
            "something else writes it. If it also takes from user_credits, these users pay twice: stop it, and give "
            "back what it took"
        )
    if sums.continues is not None:
        run, status = sums.continues
        stood = max(0, sum(sums.user_months.values()) - sums.changed["user_monthly"])
        notes.append(
            f"goes on where run {run} ({status}) ended: {stood:,} user-months stood already and were not written again"
        )
    return Report(
        run_id=run_id,
        kind=plan.kind,
        window_from=plan.window.first,
        window_to=plan.window.last,
        closed=tuple(sorted(plan.window.closing)),
        rows_read=reading.read,
        rows_rejected=len(reading.rejects),
        unpriced=sums.unpriced,
        changed=sums.all_changed,
        total_cost=sums.total,
        credits=sums.story(),
        currency=plan.settings.currency,
        seconds=seconds,
        notes=tuple(notes),
        dry_run=run_id is None,
        plan=None if plan.backfill is None else _planned(plan, sums),
    )


def _planned(plan: Plan, sums: Sums) -> PlanReport:
    """What a backfill changes; each month's figures before are those after it less what changes."""
    found, after = sums.told.changed, sums.by_month
    changes = tuple(
        Change(row["month"], row["user_id"], row["cause"], *(unscaled(row[name]) for name in FIGURES))
        for row in found.iter_rows(named=True)
    )
    moved = found.group_by("month").agg(pl.len().alias("users"), pl.col(FIGURES).sum())
    by_month = {row["month"]: row for row in moved.iter_rows(named=True)}
    return PlanReport(
        sums.told.hash,
        tuple(_month(plan, month, by_month.get(month, NOTHING), after.get(month, {})) for month in plan.window.months),
        changes,
    )


def _month(plan: Plan, month: date, moved: Mapping[str, int], after: Mapping[str, int]) -> MonthChange:
    total, credits = after.get("total_cost", 0), after.get("credits_deducted", 0)
    return MonthChange(
        month,
        month in plan.window.closed,
        moved["users"],
        unscaled(total - moved["new_total"] + moved["old_total"]),
        unscaled(total),
        unscaled(credits - moved["new_credits"] + moved["old_credits"]),
        unscaled(credits),
    )
