"""The invariants of the roll-ups as SQL: each roll-up is a GROUP BY of user_daily, and all have the same sums.

Lists of columns are composed, because they depend on the configured meters and on the keys in ``domain/tables.sql``.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta
from typing import LiteralString

from psycopg import sql

from jobs.domain.meters import Meter, cost_of, days_of
from jobs.domain.tables import TABLES, Table, tables
from jobs.domain.wording import name_some
from jobs.postgres.invariants import InvariantCheck, describe_sides_sql
from jobs.postgres.sql_loader import column_list, compose, job_table, join_columns, raw
from jobs.settings import Settings

KEY_WORDS = {"user_id": "user", "date": "day", "month": "month", "cluster_id": "cluster"}
"""How a check names the key columns of roll-ups, in this order."""
PERIODS: dict[str, LiteralString] = {"date": "date", "month": "date_trunc('month', date)::date"}
"""By the first key column of a roll-up: the day or month that a row of user_daily belongs to, as SQL."""
KEY_TEXTS: dict[str, LiteralString] = {"month": "to_char(coalesce(d.{0}, s.{0}), 'YYYY-MM')"}
"""Key columns that a check does not name by their value as text."""
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
    waiting = {
        month: days
        for month, _, days in left_out
        if days and month not in bare and check.title != _title("user_monthly")
    }
    by_day = check.title == _title("cluster_daily")
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
    """Yields the check of each roll-up that it is a GROUP BY of user_daily."""
    user_daily, *others = (table for table in tables(settings.meters) if table.is_roll_up)
    amounts = [name for name in user_daily.computed if name not in user_daily.key]
    for table in others:
        # Where a level is stored as GB-months, its sum over days has a column of its own.
        stored = [days if (days := days_of(name)) in table.columns else name for name in amounts]
        # No rows count as a sum of 0: all rows of a user may be rejected.
        sides: list[tuple[str, sql.Composable, sql.Composable]] = [
            (column, _or_zero("d", name), _or_zero("s", column)) for name, column in zip(amounts, stored, strict=True)
        ]
        parts: dict[str, sql.Composable] = {"sums": join_columns("sum({0}) AS {0}", amounts), **_key_parts(table)}
        if "user_id" in table.key:
            parts |= {"users": sql.SQL(""), "is_regrouped": sql.SQL("true")}
        else:
            users = "active_users" if "active_users" in table.columns else "users"
            sides.insert(0, (users, sql.SQL("d.users"), sql.Identifier("s", users)))
            # By day and cluster a user has one row.
            parts["users"] = sql.SQL("count(*)" if "date" in table.key else "count(DISTINCT user_id)") + raw(
                " AS users,"
            )
        parts |= {"table": job_table(settings, table.name), "difference": _first_difference(sides)}
        parts["columns"] = column_list(column for column, *_ in sides)
        yield _title(table.name), compose("rollup_invariants.group_by", settings, **parts), True


def _title(name: str) -> str:
    return f"1 {name} = user_daily by {' and '.join(KEY_WORDS.get(each, each) for each in _sort_key(TABLES[name]))}"


def _sort_key(table: Table) -> list[str]:
    """Returns the key columns of a roll-up in the order in which a check names them."""
    return sorted(table.key, key=lambda name: [*KEY_WORDS, name].index(name))


def _key_parts(table: Table) -> dict[str, sql.Composable]:
    """Returns the parts of the query that depend on the key of a roll-up: its day or month, and the other columns."""
    same: dict[bool, LiteralString] = {
        False: "s.{0} = d.{0}",
        True: "coalesce(s.{0}::text, '') = coalesce(d.{0}::text, '')",  # not IS NOT DISTINCT FROM: a full join needs =
    }
    texts = [
        sql.SQL(KEY_TEXTS.get(name, "coalesce(d.{0}::text, s.{0}::text, 'none')")).format(sql.Identifier(name))
        for name in _sort_key(table)
    ]
    pairs = [sql.SQL(same[table.may_be_null(name)]).format(sql.Identifier(name)) for name in table.key]
    return {
        "period": sql.Identifier(table.key[0]),
        "period_of_day": sql.SQL(PERIODS[table.key[0]]),
        "others": column_list(table.key[1:]),
        "key": sql.SQL(" || ' ' || ").join(texts),
        "same_key": sql.SQL(" AND ").join(pairs),
    }


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
