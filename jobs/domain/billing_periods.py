"""Which days a run covers, and which months it closes (DESIGN section 3). Pure: the clock is an argument."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta

from jobs.domain.errors import ConfigError


def first_of(day: date) -> date:
    """The month that ``day`` lies in, as its first day."""
    return day.replace(day=1)


def next_month(month: date) -> date:
    return first_of(month + timedelta(days=31))


def previous_month(month: date) -> date:
    return first_of(month - timedelta(days=1))


def days_in(month: date) -> int:
    return (next_month(month) - month).days


def last_of(month: date) -> date:
    return next_month(month) - timedelta(days=1)


def month_spans(months: Iterable[date]) -> list[tuple[date, date]]:
    """The first and the last day of each of ``months``."""
    return [(month, last_of(month)) for month in months]


@dataclass(frozen=True, slots=True)
class History:
    """What earlier runs left: the month of the first run, the furthest day committed, the months closed."""

    first_run: date | None
    furthest: date | None
    closed: frozenset[date]


@dataclass(frozen=True, slots=True)
class Window:
    """The days of a run: whole months, the last of them up to ``last``; ``closing``: those that it closes; ``closed``:
    those that were closed before, which a backfill names."""

    months: tuple[date, ...]
    last: date
    closing: frozenset[date]
    closed: frozenset[date] = frozenset()

    @property
    def first(self) -> date:
        return self.months[0]

    def last_of(self, month: date) -> date:
        """The last day of ``month`` that the run covers."""
        return min(last_of(month), self.last)

    @property
    def days(self) -> list[date]:
        """Every day covered."""
        return [first + timedelta(days=n) for first, last in self.spans() for n in range((last - first).days + 1)]

    @property
    def open(self) -> tuple[date, ...]:
        """The months that are not closed yet."""
        return tuple(month for month in self.months if month not in self.closed)

    @property
    def indebting(self) -> frozenset[date]:
        """The months whose debts the run writes anew: what is uncovered of them is owed."""
        return self.closing | self.closed

    @property
    def draws(self) -> list[tuple[date, ...]]:
        """The draw windows, in the order in which they draw: each closed month by itself, then all open ones."""
        return [*((month,) for month in sorted(self.closed)), *([self.open] if self.open else [])]

    def spans(self) -> list[tuple[date, date]]:
        """The days covered, as one span from first to last day for each unbroken row of months."""
        return self.spans_of(self.months)

    def spans_of(self, months: Sequence[date]) -> list[tuple[date, date]]:
        """The days covered of some of the months, oldest first."""
        spans: list[tuple[date, date]] = []
        for month in months:
            if spans and spans[-1][1] + timedelta(days=1) == month:
                spans[-1] = (spans[-1][0], self.last_of(month))
            else:
                spans.append((month, self.last_of(month)))
        return spans


def first_open_month(history: History, start: date | None, asked: date) -> date:
    """The first month that is not closed from the beginning: ``start``'s, else the one before the first run's."""
    return first_of(start) if start else previous_month(first_of(history.first_run or asked))


def is_closed(month: date, history: History, following: date) -> bool:
    """Whether only a backfill may change ``month``; ``following``: see ``first_open_month``."""
    return month in history.closed or month < following


def nightly_window(
    day: date | None, *, today: date, history: History, start: date | None, close_after_days: int
) -> Window:
    """The window of `run --date day` (default: yesterday): every open month up to the last day.

    Raises ConfigError for a day after yesterday or in a closed month.
    """
    asked = _past("--date", day or today - timedelta(days=1), today)
    month, following = first_of(asked), first_open_month(history, start, asked)
    if is_closed(month, history, following):
        why = (
            "closed by an earlier run" if month in history.closed else f"before the first open month, {following:%Y-%m}"
        )
        raise ConfigError(
            f"--date {asked}: {month:%Y-%m} is closed ({why}); a nightly run never changes a closed month. "
            "Correct it with: usage-jobs backfill --from DAY --to DAY --reason TEXT"
        )
    return _open(following, max(asked, history.furthest or asked), history, close_after_days)


def backfill_window(
    since: date, until: date, *, today: date, history: History, start: date | None, close_after_days: int
) -> Window:
    """The window of `backfill --from since --to until`: the whole months that these days touch, up to yesterday; all
    open months if one of them is.

    Raises ConfigError for a day after yesterday, and for ``until`` before ``since``.
    """
    yesterday = today - timedelta(days=1)
    if _past("--to", until, today) < since:
        raise ConfigError(f"--to {until}: expected a day on or after --from {since}")
    following = first_open_month(history, start, yesterday)
    touched = months_of(since, until)
    closed = frozenset(month for month in touched if is_closed(month, history, following))
    if len(closed) == len(touched):
        return Window(tuple(touched), min(last_of(touched[-1]), yesterday), frozenset(), closed)
    open_months = _open(following, yesterday, history, close_after_days)
    return Window(tuple(sorted(closed.union(open_months.months))), open_months.last, open_months.closing, closed)


def months_of(since: date, until: date) -> list[date]:
    """The months from that of ``since`` to that of ``until``."""
    months = [first_of(since)]
    while next_month(months[-1]) <= until:
        months.append(next_month(months[-1]))
    return months


def _past(option: str, day: date, today: date) -> date:
    yesterday = today - timedelta(days=1)
    if day > yesterday:
        raise ConfigError(
            f"{option} {day}: expected yesterday ({yesterday} UTC) or earlier: usage of a day is complete "
            "only when the day is over"
        )
    return day


def _open(following: date, last: date, history: History, close_after_days: int) -> Window:
    """Every open month from ``following`` on, up to ``last``."""
    months = tuple(month for month in months_of(following, last) if month not in history.closed)
    as_of = last + timedelta(days=1)
    due = frozenset(m for m in months if next_month(m) + timedelta(days=close_after_days) <= as_of)
    return Window(months, last, due)


def cost_modes(months: tuple[date, ...], kept: Mapping[date, str], setting: str) -> tuple[dict[date, str], list[str]]:
    """The cost mode of each month: the one its first run recorded, else the setting; and what to say of it."""
    modes = {month: kept.get(month, setting) for month in months}
    notes = [
        f"{month:%Y-%m} keeps cost = {mode!r}, the mode of its first run; the setting {setting!r} holds from the "
        "first month not yet covered"
        for month, mode in modes.items()
        if mode != setting
    ]
    return modes, notes
