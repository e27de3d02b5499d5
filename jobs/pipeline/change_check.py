"""Invariant 8: where much of what is covered would change, nothing is written before a person has looked.

A collector that overwrites a month with zeros, or counts in another unit; price overrides or accounts that were lost; a
settings file of somebody else: each is a change that nobody meant. No polars here.
"""

from collections.abc import Collection, Iterator, Mapping
from datetime import date, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING

from jobs.domain.billing_periods import first_of, previous_month
from jobs.domain.check_tokens import LargeChange, percent, round_up
from jobs.domain.errors import ChangeError
from jobs.domain.fixed_point import unscaled
from jobs.pipeline.plan import Plan
from jobs.postgres.connections import Connection, transaction
from jobs.postgres.month_figures import MonthFigures, day_costs, month_figures

if TYPE_CHECKING:
    from jobs.pipeline.change_sums import ChangeSums

FEW = 10
"""So many accounts or overrides may always be gone."""
TIMES = 5
"""A new day may cost so many times the mean of the days before it."""
DAYS_BEFORE = 7
LOOKED_BACK = timedelta(days=31)
"""How far back these days may lie: after a longer pause there are too few to say what is usual."""
WHAT = {"cost": "cost", "draws": "draws (free and purchased)"}
Found = tuple[LargeChange, str]
"""A change that is too large, and the words for it."""


def check_change(
    connection: Connection, plan: Plan, sums: "ChangeSums | None", allowed: Collection[LargeChange]
) -> None:
    """Raises ChangeError (exit 5) naming both figures and the largest causes of each change that is too large and more
    than is ``allowed``. ``sums``: None where nothing is to be computed."""
    found = list(_gone(plan))
    if sums is not None:
        with transaction(connection):
            found += [*_months(connection, plan, sums), *_days(connection, plan, sums)]
    refused = [(change, words) for change, words in found if not any(each.covers(change) for each in allowed)]
    if refused:
        # Those that are allowed too: whoever copies the options has all that the next run asks for.
        settings, options = plan.settings, " ".join(f"--allow-change {change.token}" for change, _ in found)
        share, amount = percent(settings.max_change), f"{settings.max_change_amount:,f} {settings.currency}"
        raise ChangeError(
            f"{'; '.join(words for _, words in refused)}. Nothing was written. Expected covered days to change by at "
            f"most {share} (max_change) of the month before or by {amount} (max_change_amount), and new days to cost "
            "what days before them did: look whether usage, prices, overrides and credits are what they should be "
            f"(a --dry-run with the options below shows all of it); if so, run again with {options}"
        )


def _gone(plan: Plan) -> Iterator[Found]:
    for kind, before, now in plan.counts.gone:
        gone = before - now
        if gone > FEW and gone > before * plan.settings.max_change:
            change = LargeChange(first_of(plan.window.last), kind, Decimal(0), Decimal(gone))
            yield change, f"{now:,} {kind} where the last finished run counted {before:,}"


def _months(connection: Connection, plan: Plan, sums: "ChangeSums") -> Iterator[Found]:
    settings = plan.settings
    # Of a month of which nothing is stored no day has been covered.
    large = [
        (month, kind, more, less)
        for month, kind, more, less in sums.months
        if unscaled(max(more, less)) > settings.max_change_amount and month not in plan.new_months
    ]
    months = sorted({day for month, *_ in large for day in (month, previous_month(month))})
    figures = month_figures(connection, plan, months)[0] if months else {}
    for month, kind, more, less in large:
        usual_month, usual = _usual(plan, figures, month, kind)
        if unscaled(max(more, less)) > settings.max_change * usual:
            before = _figure(figures[month], kind)
            after = before + unscaled(more - less)
            # What another program has drawn is not in user_monthly before it is adopted.
            is_known = kind == "cost" or not plan.begins_ledger
            goes = f"go from {before:,.2f} to {after:,.2f}" if is_known else "change"
            yield (
                LargeChange(month, kind, round_up(more), round_up(less)),
                f"{month:%Y-%m}: the {WHAT[kind]} of covered days would {goes} ({_words(more, less)}; in "
                f"{usual_month:%Y-%m} it was {usual:,.2f}); {_causes(sums, month, kind)}",
            )


def _usual(plan: Plan, figures: Mapping[date, MonthFigures], month: date, kind: str) -> tuple[date, Decimal]:
    """The month that a change of ``month`` is compared with, and its figure: the one before; where that has none, or
    is in another currency, the month itself."""
    before = previous_month(month)
    is_usual = _figure(figures[before], kind) and _is_like(plan, before, month)
    chosen = before if is_usual else month
    return chosen, _figure(figures[chosen], kind)


def _is_like(plan: Plan, day: date, other: date) -> bool:
    """Whether amounts of these days are in the same currency, as far as is known."""
    kept = {**plan.months.currencies, **plan.currencies}
    return len({kept.get(first_of(each)) for each in (day, other)} - {None}) < 2


def _figure(figures: MonthFigures, kind: str) -> Decimal:
    return figures.total_cost if kind == "cost" else figures.credits_deducted


def _causes(sums: "ChangeSums", month: date, kind: str) -> str:
    causes = [
        f"{cause} of {users:,} users ({_words(more, less)})" for cause, users, more, less in sums.causes(month, kind)
    ]
    return f"by {', '.join(causes)}, most of it: {_users(sums, month, kind)}"


def _users(sums: "ChangeSums", day: date, kind: str) -> str:
    return ", ".join(f"{user} ({_words(more, less)})" for user, more, less in sums.users(day, kind))


def _words(more: int, less: int) -> str:
    return ", ".join(f"{round_up(units):,f} {word}" for units, word in ((more, "more"), (less, "less")) if units)


def _days(connection: Connection, plan: Plan, sums: "ChangeSums") -> Iterator[Found]:
    if plan.new_days is None or plan.covered_to is None:
        return
    first, last = plan.new_days
    # What days before the new ones cost, and what a run that died has stored of new ones.
    costs = day_costs(connection, plan, first - LOOKED_BACK, plan.covered_to, last)
    for day, more in sums.days.items():
        costs[day] = costs.get(day, Decimal(0)) + unscaled(more)
    for day in sorted(day for day in costs if day >= first):
        earlier = (each for each in costs if day - LOOKED_BACK <= each < day and _is_like(plan, each, day))
        before = sorted(earlier)[-DAYS_BEFORE:]
        mean = sum((costs[each] for each in before), start=Decimal(0)) / DAYS_BEFORE
        least = max(mean * TIMES, mean + plan.settings.max_change_amount)
        if len(before) == DAYS_BEFORE and costs[day] > least:
            change = LargeChange(day, "day", round_up(int(costs[day].scaleb(10))))
            yield (
                change,
                f"{day}: the new day would cost {costs[day]:,.2f}, more than {TIMES} times the {mean:,.2f} that the "
                f"{DAYS_BEFORE} days of usage before it cost on average; most of it: {_users(sums, day, 'day')}",
            )
