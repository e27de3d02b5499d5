"""The invariants of the roll-ups as SQL: each roll-up is a GROUP BY of user_daily, and all have the same sums.

Lists of sums and of compared columns are composed: they depend on the configured meters.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta

from psycopg import sql

from jobs.domain.meters import Meter, cost_of, days_of
from jobs.domain.wording import name_some
from jobs.postgres.invariants import InvariantCheck, describe_sides_sql
from jobs.postgres.sql_loader import column_list, compose, join_columns
from jobs.settings import Settings

CLUSTER_DAYS = "1 cluster_daily = user_daily by day and cluster"
USER_MONTHS = "1 user_monthly = user_daily by user and month"
Check = tuple[str, sql.Composed, bool]
"""The title of a check, its query, and whether the query explains differences (see ``ledger_invariants._check``)."""


@dataclass(frozen=True, slots=True)
class CheckScope:
    """What is checked.

    - ``months``: the months in question, sorted
    - ``rows_of``: the months whose usage rows are checked
    - ``until``: the last day that a run has covered
    """

    months: Sequence[date]
    rows_of: Sequence[date]
    until: date


def note_left_out(
    check: InvariantCheck, scope: CheckScope, left_out: Sequence[tuple[date, bool, Sequence[date]]]
) -> InvariantCheck:
    """Returns ``check`` with a note on what it left out. ``left_out``: month, whether it is not in user_daily yet, and
    its days that are not regrouped yet."""
    bare = {month for month, is_bare, _ in left_out if is_bare and "user_daily" in check.title}
    waiting = {month: days for month, _, days in left_out if days and month not in bare and check.title != USER_MONTHS}
    by_day = check.title == CLUSTER_DAYS
    out = [f"{month:%Y-%m}" for month in sorted(bare | (set() if by_day else waiting.keys()))]
    out += format_day_spans([day for days in waiting.values() for day in days]) if by_day else []
    if not out:
        return check
    note = f"left out, until a run or backfill has computed them completely: {name_some(out)}"
    whole = [] if by_day else waiting
    return replace(check, note=note, is_judged=check.is_judged and len(bare) + len(whole) < len(scope.months))


def format_day_spans(days: Sequence[date]) -> list[str]:
    """Returns each span of consecutive ``days`` (sorted) as text: 2026-06-02, or 2026-06-02 to 2026-06-05."""
    spans: list[tuple[date, date]] = []
    for day in days:
        if spans and spans[-1][1] + timedelta(days=1) == day:
            spans[-1] = (spans[-1][0], day)
        else:
            spans.append((day, day))
    return [f"{first}" if first == last else f"{first} to {last}" for first, last in spans]


def rollup_checks(settings: Settings) -> Iterator[Check]:
    """Yields every check of the roll-ups."""
    for what, names in _columns_by_unit(settings.meters).items():
        pairs = [sql.SQL("({}, s.{})").format(sql.Literal(name), sql.Identifier(name)) for name in names]
        parts = {"sums": join_columns("sum({0}) AS {0}", names), "amounts": sql.SQL(", ").join(pairs)}
        for by in ("month", "day"):
            text = compose("rollup_invariants.clusters", settings, by=sql.Literal(by), **parts)
            yield f"1 {what} by user = by cluster and {by}", text, False
    yield from _group_by_checks(settings)
    yield "1 cost in the table months = by user", compose("rollup_invariants.months", settings), False


def _columns_by_unit(meters: Sequence[Meter]) -> dict[str, list[str]]:
    """Returns the additive columns in groups that can be added up: money, or quantities of one unit."""
    kinds = {
        "total cost": ["total_cost"],
        "charges and adjustments": [*(cost_of(meter.name) for meter in meters), "adjustment_cost"],
        "credits": ["credits_deducted"],
    }
    for meter in meters:
        if not meter.is_level:
            kinds.setdefault(f"quantities in {meter.unit}", []).append(meter.name)
    return kinds


def _group_by_checks(settings: Settings) -> Iterator[Check]:
    """Yields the checks that each roll-up is a GROUP BY of user_daily."""
    meters = settings.meters
    daily = [
        *(name for meter in meters for name in (meter.name, cost_of(meter.name))),
        *("adjustment_cost", "total_cost", "credits_deducted"),
    ]
    levels = {meter.name for meter in meters if meter.is_level}
    monthly = [days_of(name) if name in levels else name for name in daily]
    sums, cluster_months = join_columns("sum({0}) AS {0}", daily), "1 cluster_monthly = user_daily by month and cluster"
    for title, query, stored, users in (
        (USER_MONTHS, "user_days", monthly, []),
        (CLUSTER_DAYS, "cluster_days", daily, ["users"]),
        (cluster_months, "cluster_months", monthly, ["active_users"]),
    ):
        sides: list[tuple[str, sql.Composable, sql.Composable]] = [
            (name, sql.SQL("d.users"), sql.Identifier("s", name)) for name in users
        ]
        # No rows count as a sum of 0: all rows of a user may be rejected.
        sides += [
            (column, _or_zero("d", name), _or_zero("s", column)) for name, column in zip(daily, stored, strict=True)
        ]
        parts = {"sums": sums, "columns": column_list(stored), "difference": _first_difference(sides)}
        yield title, compose(f"rollup_invariants.{query}", settings, **parts), True


def _or_zero(of: str, column: str) -> sql.Composed:
    return sql.SQL("coalesce({}, 0)").format(sql.Identifier(of, column))


def _first_difference(sides: Iterable[tuple[str, sql.Composable, sql.Composable]]) -> sql.Composed:
    """Returns SQL for a text with the first column that differs, and both its values. ``sides``: column and values.

    No named query: it has one case for each configured meter.
    """
    cases = [
        sql.SQL("WHEN {0} IS DISTINCT FROM {1} THEN {2}").format(*both, describe_sides_sql(f"{name} is ", *both))
        for name, *both in sides
    ]
    return sql.SQL("CASE {} END").format(sql.SQL(" ").join(cases))
