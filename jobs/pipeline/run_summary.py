"""The summary of a run (domain.run_report)."""

from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import date
from decimal import Decimal
from typing import TYPE_CHECKING

from jobs.domain.fixed_point import unscaled
from jobs.domain.run_report import Change, CreditSummary, LedgerTotals, MonthChange, PlanReport, Report
from jobs.domain.wording import count, format_amounts, format_value, name_some
from jobs.pipeline.finalize import Finalized
from jobs.pipeline.run_totals import Totals
from jobs.postgres.adoption import Adoption
from jobs.postgres.run_scope import RunScope

if TYPE_CHECKING:
    from jobs.pipeline.plan_approval import ChangeRecorder


def summarize(
    seconds: Mapping[str, float],
    scope: RunScope,
    run_id: int | None,
    totals: Totals,
    ended: Finalized,
    adopted: Adoption | None,
) -> Report:
    """Returns the figures and notes of a run, or of a dry run (without ``run_id``)."""
    still_open = tuple(sorted(scope.window.closing - ended.closed))
    return Report(
        run_id=run_id,
        kind=scope.kind,
        window_from=scope.window.first,
        window_to=scope.window.last,
        closed=tuple(sorted(ended.closed)),
        unsettled=still_open,
        rows_read=totals.rows_read,
        rows_rejected=ended.rejected,
        users_recomputed=totals.users_recomputed,
        unpriced=totals.unpriced,
        changed={**totals.changed, **ended.changed},
        total_cost=ended.whole.total_cost,
        credits=_summarize_credits(scope, totals, ended),
        currency=scope.currency,
        settings_file=scope.settings.source,
        rates_file=str(scope.settings.rates),
        seconds=seconds,
        notes=(
            *scope.notes,
            *_describe_other_currencies(scope, ended),
            *_make_notes(scope.kind, totals, adopted, still_open),
            *_describe_remedies(scope, totals),
            *([f"the cluster tables of {_months(ended.waiting)} wait for these users"] if ended.waiting else []),
        ),
        dry_run=run_id is None,
        users_left=len(totals.skipped),
        users_set_aside=len(totals.set_aside),
        users_foreign=len(totals.unexplained),
        overrides_unanswered=scope.overrides.without_meter,
        plan=None if totals.recorder is None else _report_plan(scope, totals.recorder, ended),
    )


def _describe_other_currencies(scope: RunScope, ended: Finalized) -> list[str]:
    return [
        f"{month:%Y-%m} is in {currency}: its total cost, {ended.by_month[month].total_cost:,.2f} {currency}, is not "
        f"in the sums, which are in {scope.currency}"
        for month, currency in scope.currencies.items()
        if currency != scope.currency
    ]


def _explain_open(totals: Totals) -> str:
    if totals.set_aside:
        return f"{_some(totals.set_aside)} {'is' if len(totals.set_aside) == 1 else 'are'} set aside"
    if totals.skipped:
        return "not every user was recomputed. The next run closes it"
    if totals.holding_up:
        some = ", ".join(totals.holding_up)
        return f"the accounts of {some} have invalid amounts, so that no draws can be computed. Correct the accounts"
    return (
        "usage or prices changed again while the run was closing it. The next run closes it; run again when nothing "
        "writes to these days"
    )


def _make_notes(kind: str, totals: Totals, adopted: Adoption | None, still_open: Collection[date]) -> list[str]:
    notes = [*totals.notes, *([adopted.note] if adopted else [])]
    if totals.skipped:
        remedy = "the next run takes them" if kind == "run" else "the same backfill, done again, takes them"
        notes.append(
            f"not recomputed: {_some(totals.skipped)}. Another transaction kept usage rows or the account of each "
            f"of these users ({len(totals.skipped):,}) locked, or changed them. Nothing was written for them; {remedy}"
        )
    refused = totals.set_aside.keys() - totals.unexplained
    for users, then in ((refused, "the next run tries again"), (totals.unexplained, "you have to decide")):
        if users:
            reasons = "; ".join(f"{user}: {totals.set_aside[user]}" for user in sorted(users)[:3])
            notes.append(
                f"set aside (rollup.set_aside): {_some(users)}. Nothing was written for them; {then}. {reasons}"
            )
    if still_open:
        notes.append(f"{_months(still_open)} stays open: {_explain_open(totals)}")
    if totals.unusable:
        notes.append(
            f"user_credits of {', '.join(totals.unusable)}: some amounts are no numbers, or not below 10^18; no credit "
            "is taken from these accounts, or given back, until they are corrected"
        )
    if totals.refilled:
        notes.append(
            f"credits_deducted of {count(totals.refilled, 'row')} was empty or wrong, and was written again as it is "
            "in rollup.credit_draws. No other program should reset or write this column"
        )
    if totals.settled_users:
        [amount] = format_amounts(unscaled(totals.posted.settled_amount))
        notes.append(
            f"later credit settled {amount} of what {_some(totals.settled_users)} owed for closed months "
            "(usage-jobs debts)"
        )
    if totals.continues is not None:
        run, status = totals.continues
        notes.append(f"continues run {run} ({status}): what that run has written was not written again")
    return notes


def _describe_remedies(scope: RunScope, totals: Totals) -> Iterator[str]:
    """Yields notes on what --adopt and --trust-ledger have done, and on users for whom there was nothing to do."""
    for user, (rows, amount) in sorted(totals.adopted_by_user.items()):
        what = f"credits of {format_value(unscaled(amount))} on {count(rows, 'row')} of {user}"
        yield f"adopted {what}: the ledger now has what they show"
    without_effect = {
        "--adopt": scope.adopted_users - totals.adopted_by_user.keys(),
        "--trust-ledger": scope.trusted_ledger_users - totals.trusted,
    }
    for option, users in without_effect.items():
        for user in sorted(users - totals.not_written):
            yield f"{option} {user}: expected a user who is set aside for unexplained credits; found none"


def _some(users: Collection[str]) -> str:
    return name_some(sorted(users))


def _months(months: Collection[date]) -> str:
    return ", ".join(f"{month:%Y-%m}" for month in sorted(months))


def _summarize_credits(scope: RunScope, totals: Totals, ended: Finalized) -> CreditSummary:
    """Returns what the run posted, and how the cost of its window is paid."""
    posted, whole = totals.posted, ended.whole
    paid = whole.credits_deducted + whole.uncovered + whole.amount_due + whole.amount_reported + whole.amount_free
    rest = whole.total_cost - paid
    return CreditSummary(
        users_drawn=posted.users,
        free=unscaled(posted.free),
        purchased=unscaled(posted.purchased),
        taken=LedgerTotals(posted.taken_rows, unscaled(posted.taken)),
        given_back=LedgerTotals(posted.given_back_rows, unscaled(-posted.given_back)),
        reassigned=posted.reassigned_rows,
        credits_deducted=whole.credits_deducted,
        uncovered=whole.uncovered,
        users_ran_out=whole.users_ran_out,
        amount_due=whole.amount_due,
        amount_reported=whole.amount_reported,
        amount_free=whole.amount_free,
        rest=rest,
        rest_because=_explain_rest(scope, rest, whole.users),
        refilled_rows=totals.refilled,
    )


def _explain_rest(scope: RunScope, rest: Decimal, user_months: int) -> str:
    """Returns why ``rest``, a part of the cost, is neither drawn, uncovered, due, reported nor free of charge."""
    rules = scope.credit_rules
    # Rounding leaves at most half a unit of each user and month, in each of three ways to pay.
    if abs(rest) * 2 <= 3 * user_months * Decimal(1).scaleb(-min(rules.scale, rules.due_scale)):
        return "rounding difference"
    if rest < 0:
        return "drawn above the cost"
    if rules.start is not None and rules.start > scope.window.first:
        return f"prepaid before {rules.start}"
    return "not assigned yet"


def _report_plan(scope: RunScope, recorder: "ChangeRecorder", ended: Finalized) -> PlanReport:
    """Returns what a backfill changes. A month's figures before it are those after it less the changes."""
    from jobs.domain.schemas import in_decimals
    from jobs.rollups.causes import FIGURES

    rows = recorder.changed_months.with_columns(in_decimals(name) for name in FIGURES).to_dicts()
    changes = tuple(Change(*(row[name] for name in ("month", "user_id", "cause", *FIGURES))) for row in rows)
    changes_by_month = defaultdict[date, list[Change]](list)
    for change in changes:  # also of closed months, of which debts are settled
        changes_by_month[change.month].append(change)
    hash_ = recorder.hash if recorder.approved is None else recorder.approved.hash
    months = tuple(_report_month(scope, month, changes_by_month[month], ended) for month in scope.window.months)
    return PlanReport(hash_, months, changes)


def _report_month(scope: RunScope, month: date, changes: Sequence[Change], ended: Finalized) -> MonthChange:
    total, drawn = ended.by_month[month].total_cost, ended.by_month[month].credits_deducted
    return MonthChange(
        month,
        month in scope.window.closed,
        scope.currencies[month],
        len(changes),
        total - sum(change.new_total - change.old_total for change in changes),
        total,
        drawn - sum(change.new_credits - change.old_credits for change in changes),
        drawn,
    )
