"""Change check (invariant 8): if covered days would change much, nothing is written until a person allows it.

Examples of unintended changes: a collector overwrites a month with zeros, or counts in another unit; price overrides or
accounts were lost; the settings file belongs to another installation. Does not import polars.
"""

from collections.abc import Collection, Iterator, Mapping
from datetime import date, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING

from jobs.domain.billing_periods import first_of, previous_month
from jobs.domain.check_tokens import LargeChange, percent, round_up
from jobs.domain.errors import ChangeError
from jobs.domain.fixed_point import unscaled
from jobs.postgres.connections import Connection, transaction
from jobs.postgres.month_figures import MonthFigures, read_day_costs, read_month_figures
from jobs.postgres.run_scope import RunScope

if TYPE_CHECKING:
    from jobs.pipeline.change_sums import ChangeSums

FEW = 10
"""This many accounts or overrides may always vanish."""
TIMES = 5
"""A new day may cost this many times the mean of the days before it."""
DAYS_BEFORE = 7
LOOK_BACK = timedelta(days=31)
"""How far back these days may lie. After a longer pause the check has too few of them."""
KINDS = {"cost": "cost", "draws": "draws (free and purchased)"}
TooLarge = tuple[LargeChange, str]
"""A change that is too large, and its description."""


def check_change(
    connection: Connection, scope: RunScope, sums: "ChangeSums | None", allowed: Collection[LargeChange]
) -> None:
    """Raises ChangeError (exit 5) if a change is too large and not ``allowed``.

    The error names both figures and the largest causes. ``sums``: None if nothing is to be recomputed, or no day is
    covered yet.
    """
    too_large = list(_check_counts(scope))
    if sums is not None:
        with transaction(connection):
            too_large += [*_check_months(connection, scope, sums), *_check_days(connection, scope, sums)]
    refused = [description for change, description in too_large if not any(each.allows(change) for each in allowed)]
    if refused:
        # Options for all changes, the allowed ones too: so the printed options are complete for the next run.
        settings, options = scope.settings, " ".join(f"--allow-change {change.token}" for change, _ in too_large)
        share, amount = percent(settings.max_change), f"{settings.max_change_amount:,f} {settings.currency}"
        raise ChangeError(
            f"{'; '.join(refused)}. Nothing was written. Expected covered days to change by at "
            f"most {share} (max_change) of the month before or by {amount} (max_change_amount), and new days to cost "
            "what days before them did: look whether usage, prices, overrides and credits are what they should be "
            f"(a --dry-run with the options below shows all of it); if so, run again with {options}"
        )


def _check_counts(scope: RunScope) -> Iterator[TooLarge]:
    for kind, (now, before) in scope.counts.items():
        vanished = (before or 0) - (now or 0)
        if before is not None and vanished > FEW and vanished > before * scope.settings.max_change:
            change = LargeChange(first_of(scope.window.last), kind, Decimal(0), Decimal(vanished))
            yield change, f"{now or 0:,} {kind} where the last finished run counted {before:,}"


def _check_months(connection: Connection, scope: RunScope, sums: "ChangeSums") -> Iterator[TooLarge]:
    settings = scope.settings
    # A month without stored rows has no covered days.
    large = [
        (month, kind, more, less)
        for month, kind, more, less in sums.months
        if unscaled(max(more, less)) > settings.max_change_amount and month not in scope.new_months
    ]
    months = sorted({day for month, *_ in large for day in (month, previous_month(month))})
    figures = read_month_figures(connection, scope, months)[0] if months else {}
    for month, kind, more, less in large:
        usual_month, usual = _find_usual(scope, figures, month, kind)
        if unscaled(max(more, less)) > settings.max_change * usual:
            before = _figure(figures[month], kind)
            after = before + unscaled(more - less)
            # Draws of another program are in user_monthly only after adoption.
            is_known = kind == "cost" or not scope.begins_ledger
            goes = f"go from {before:,.2f} to {after:,.2f}" if is_known else "change"
            yield (
                LargeChange(month, kind, round_up(more), round_up(less)),
                f"{month:%Y-%m}: the {KINDS[kind]} of covered days would {goes} ({_describe_amounts(more, less)}; in "
                f"{usual_month:%Y-%m} it was {usual:,.2f}); {_describe_causes(sums, month, kind)}",
            )


def _find_usual(scope: RunScope, figures: Mapping[date, MonthFigures], month: date, kind: str) -> tuple[date, Decimal]:
    """Returns the month that a change of ``month`` is compared with, and its figure.

    This is the month before; the month itself if that has no figure, or another currency.
    """
    before = previous_month(month)
    is_comparable = _figure(figures[before], kind) and _has_same_currency(scope, before, month)
    usual = before if is_comparable else month
    return usual, _figure(figures[usual], kind)


def _has_same_currency(scope: RunScope, day: date, other: date) -> bool:
    """Whether amounts of both days are in the same currency; unknown ones count as the same."""
    currencies = {**scope.month_records.currencies, **scope.currencies}
    return len({currencies.get(first_of(each)) for each in (day, other)} - {None}) < 2


def _figure(figures: MonthFigures, kind: str) -> Decimal:
    return figures.total_cost if kind == "cost" else figures.credits_deducted


def _describe_causes(sums: "ChangeSums", month: date, kind: str) -> str:
    causes = [
        f"{cause} of {users:,} users ({_describe_amounts(more, less)})"
        for cause, users, more, less in sums.causes(month, kind)
    ]
    return f"by {', '.join(causes)}, most of it: {_describe_users(sums, month, kind)}"


def _describe_users(sums: "ChangeSums", day: date, kind: str) -> str:
    return ", ".join(f"{user} ({_describe_amounts(more, less)})" for user, more, less in sums.users(day, kind))


def _describe_amounts(more: int, less: int) -> str:
    return ", ".join(f"{round_up(units):,f} {word}" for units, word in ((more, "more"), (less, "less")) if units)


def _check_days(connection: Connection, scope: RunScope, sums: "ChangeSums") -> Iterator[TooLarge]:
    if scope.new_days is None or scope.covered_to is None:
        return
    first, last = scope.new_days
    # The cost of days before the new ones, and of new ones that an unfinished run has stored.
    costs = read_day_costs(connection, scope, first - LOOK_BACK, scope.covered_to, last)
    for day, more in sums.days.items():
        costs[day] = costs.get(day, Decimal(0)) + unscaled(more)
    for day in sorted(day for day in costs if day >= first):
        earlier = (each for each in costs if day - LOOK_BACK <= each < day and _has_same_currency(scope, each, day))
        before = sorted(earlier)[-DAYS_BEFORE:]
        mean = sum((costs[each] for each in before), start=Decimal(0)) / DAYS_BEFORE
        least = max(mean * TIMES, mean + scope.settings.max_change_amount)
        if len(before) == DAYS_BEFORE and costs[day] > least:
            change = LargeChange(day, "day", round_up(int(costs[day].scaleb(10))))
            yield (
                change,
                f"{day}: the new day would cost {costs[day]:,.2f}, more than {TIMES} times the {mean:,.2f} that the "
                f"{DAYS_BEFORE} days of usage before it cost on average; most of it: "
                f"{_describe_users(sums, day, 'day')}",
            )
