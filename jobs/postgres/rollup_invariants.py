"""The invariants of the roll-ups as SQL: each roll-up is a GROUP BY of user_daily, and all have the same sums.

Lists of columns are composed, because they depend on the configured meters.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from datetime import date, timedelta
from typing import LiteralString, NamedTuple

from psycopg import sql

from jobs.domain.meters import Meter, cost_of, days_of
from jobs.domain.tables import USER_DAY, tables
from jobs.domain.wording import name_some
from jobs.postgres.invariants import InvariantCheck, describe_sides_sql
from jobs.postgres.sql_loader import column_list, compose, job_table, join_columns
from jobs.settings import Settings


class Grouping(NamedTuple):
    """How a roll-up groups user_daily: by its day or month (``period``) and another column.

    - ``words``: both in words
    - ``users``: its column with the number of users, and how user_daily counts them
    """

    words: str
    period: str
    other: str
    users: tuple[str, LiteralString] | None = None


GROUPINGS = {
    "user_monthly": Grouping("user and month", "month", "user_id"),
    # By day and cluster a user has one row.
    "cluster_daily": Grouping("day and cluster", "date", "cluster_id", ("users", "count(*)")),
    "cluster_monthly": Grouping(
        "month and cluster", "month", "cluster_id", ("active_users", "count(DISTINCT user_id)")
    ),
}
TITLES = {name: f"1 {name} = user_daily by {grouping.words}" for name, grouping in GROUPINGS.items()}
Check = tuple[str, sql.Composed, bool]
"""The title of a check, its query, and whether the query explains differences (see ``ledger_invariants._check``)."""


def note_left_out(
    check: InvariantCheck, months: Sequence[date], left_out: Sequence[tuple[date, bool, Sequence[date]]]
) -> InvariantCheck:
    """Returns ``check`` with a note on what of ``months`` it left out. ``left_out``: month, whether it is not in
    user_daily yet, and its days that are not regrouped yet."""
    whole: list[date] = []
    days: list[date] = []
    for month, lacks_user_days, waiting in left_out:
        if lacks_user_days and "user_daily" in check.title:
            whole.append(month)
        elif check.title == TITLES["cluster_daily"]:
            days += waiting
        elif waiting and check.title != TITLES["user_monthly"]:
            whole.append(month)
    if not whole and not days:
        return check
    out = name_some([*(f"{month:%Y-%m}" for month in whole), *format_day_spans(days)])
    note = f"left out, until a run or backfill has computed them completely: {out}"
    return replace(check, note=note, is_judged=check.is_judged and len(whole) < len(months))


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
    for name, grouping in GROUPINGS.items():
        yield TITLES[name], _group_by_query(settings, name, grouping), True
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


def _group_by_query(settings: Settings, name: str, grouping: Grouping) -> sql.Composed:
    """Returns the check that a roll-up is a GROUP BY of user_daily."""
    of = {table.name: table for table in tables(settings.meters)}
    amounts = [column for column in of["user_daily"].computed if column not in USER_DAY]
    # Where a level is stored as GB-months, its sum over days has a column of its own.
    stored = [days if (days := days_of(column)) in of[name].columns else column for column in amounts]
    # No rows count as a sum of 0: all rows of a user may be rejected.
    sides = [(other, _or_zero("d", one), _or_zero("s", other)) for one, other in zip(amounts, stored, strict=True)]
    users: LiteralString = "0"
    if grouping.users is not None:
        column, users = grouping.users
        sides.insert(0, (column, sql.SQL("d.users").format(), sql.SQL("s.{}").format(sql.Identifier(column))))
    return compose(
        "rollup_invariants.group_by",
        settings,
        key=compose(f"rollup_invariants.key_of_{name}"),
        period=sql.Identifier(grouping.period),
        unit=sql.Literal("day" if grouping.period == "date" else "month"),
        other=sql.Identifier(grouping.other),
        users=sql.SQL(users),
        sums=join_columns("sum({0}) AS {0}", amounts),
        columns=column_list(column for column, *_ in sides),
        table=job_table(settings, name),
        difference=_first_difference(sides),
        **({} if grouping.users else {"is_regrouped": sql.SQL("true")}),
    )


def _or_zero(of: str, column: str) -> sql.Composed:
    return sql.SQL("coalesce({}, 0)").format(sql.Identifier(of, column))


def _first_difference(sides: Iterable[tuple[str, sql.Composed, sql.Composed]]) -> sql.Composed:
    """Returns SQL for a text with the first column that differs, and both its values. ``sides``: column and values.

    No named query: it has one case for each configured meter.
    """
    cases = [
        sql.SQL("WHEN {0} IS DISTINCT FROM {1} THEN {2}").format(*both, describe_sides_sql(f"{name} is ", *both))
        for name, *both in sides
    ]
    return sql.SQL("CASE {} END").format(sql.SQL(" ").join(cases))
