"""The figures of the operator's report: a month, compared with the month before, and what needs attention.

All figures are exact, and of the job's own tables. They are rounded where they are shown (``shown_report``).
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime
from decimal import Decimal

from jobs.domain.billing_periods import last_of, previous_month
from jobs.pipeline.covered_months import read_covered_months
from jobs.postgres import month_report as tables
from jobs.postgres import run_log
from jobs.postgres.connections import Connection, query_database
from jobs.postgres.conninfo import Address
from jobs.postgres.invariants import InvariantCheck
from jobs.postgres.month_report import Row
from jobs.postgres.people import Person, read_people
from jobs.postgres.run_log import MonthRecords
from jobs.settings import Settings

NOTHING = Decimal(0)


@dataclass(frozen=True, slots=True)
class MonthBefore:
    """The days of the month before that a month is compared with.

    - ``first``, ``last``: the whole month, or as many of its first days as the month has covered days
    - ``reason``: why the months are not compared; empty: they are
    - ``cost``: of these days
    - ``cluster_costs``: the same by cluster id
    """

    first: date
    last: date
    reason: str = ""
    cost: Decimal = NOTHING
    cluster_costs: Mapping[str | None, Decimal] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class MonthReport:
    """What the report of a month says; amounts in ``currency``, exact.

    - ``last``: the last covered day
    - ``closed_at`` (UTC), ``closed_by`` (a run): None where the month is open
    - ``totals``: users, row_count, users_ran_out, and the amounts of user_monthly (postgres.month_report.AMOUNTS)
    - ``billing_modes``: the same by billing_mode
    - ``day_costs``: date, cluster_id, total_cost, credits_deducted
    - ``clusters``: cluster_id, name, users, cost, cost_before; the highest cost first
    - ``movers``: user_id, cost, cost_before of the users whose cost has changed most
    - ``lists``: the first rows of each of postgres.month_report.LISTS
    - ``corrections``: number of corrections and users, and by how much they change the cost
    - ``set_aside``: how many users are set aside
    - ``runs``: the newest runs of the log
    - ``people``: names and addresses of the users in ``lists`` and ``movers``, where they may be read
    - ``checks``: the result of `reconcile` for the month
    """

    month: date
    last: date
    currency: str
    cost_mode: str
    closed_at: datetime | None
    closed_by: int | None
    before: MonthBefore
    totals: Row
    billing_modes: Sequence[Row]
    day_costs: Sequence[Row]
    clusters: Sequence[Row]
    movers: Sequence[Row]
    lists: Mapping[str, Sequence[Row]]
    corrections: Row
    set_aside: int
    runs: Sequence[Row]
    people: Mapping[str, Person]
    checks: Sequence[InvariantCheck] = ()


def read_month_report(settings: Settings, address: Address, month: date, *, names: bool) -> MonthReport:
    """Returns the report of ``month``; its invariants are checked after its figures are read, in another snapshot.

    ``names``: also names and e-mail addresses, where this role may read them. Raises ConfigError if no run has covered
    a day of the month.
    """
    from jobs.audit.reconcile import reconcile  # imports polars

    found = query_database(address, lambda connection: _read(connection, settings, month, names), snapshot=True)
    return replace(found, checks=reconcile(settings, address, month, last_of(month)))


def _read(connection: Connection, settings: Settings, month: date, names: bool) -> MonthReport:
    covered = read_covered_months(connection, settings)
    last, months = covered.last_day(month), covered.records
    day_costs, _ = tables.read_day_costs(connection, settings, month, last)
    before = _read_before(connection, settings, last, months)
    modes = tables.read_billing_modes(connection, settings, month)
    movers = [] if before.reason else tables.read_movers(connection, settings, month, before.first, before.last)
    lists = {name: tables.read_rows(connection, settings, name, month) for name in tables.LISTS}
    users = {row["user_id"] for rows in (movers, *lists.values()) for row in rows if "user_id" in row}
    [corrections] = tables.read_rows(connection, settings, "correction_sums", month)
    [set_aside] = tables.read_rows(connection, settings, "set_aside_count", month)
    [closing] = tables.read_rows(connection, settings, "closed_at", month)
    clusters = tables.read_rows(connection, settings, "cluster_names", month, before=before.first)
    return MonthReport(
        month=month,
        last=last,
        currency=covered.currency(month),
        cost_mode=months.modes[month],
        **closing,
        before=before,
        totals=_sum_rows(modes),
        billing_modes=modes,
        day_costs=day_costs,
        clusters=_join_clusters(day_costs, before.cluster_costs, clusters),
        movers=movers,
        lists=lists,
        corrections=corrections,
        set_aside=set_aside["count"],
        runs=run_log.read_runs(connection, settings, tables.RUNS),
        people=read_people(connection, settings, users) if names else {},
    )


def _read_before(connection: Connection, settings: Settings, last: date, months: MonthRecords) -> MonthBefore:
    """The days to compare with those from the first of the month to ``last``."""
    month = last.replace(day=1)
    first = previous_month(month)
    is_whole = last == last_of(month)
    last_before = last_of(first) if is_whole else min(first + (last - month), last_of(first))
    compared = MonthBefore(first, last_before)
    if first not in months.modes:
        return replace(compared, reason=f"no run has covered {first:%Y-%m}")
    one, other = months.currencies[month], months.currencies[first]
    if one != other:
        return replace(compared, reason=f"{first:%Y-%m} is in {other}, {month:%Y-%m} in {one}")
    costs, is_by_user = tables.read_day_costs(connection, settings, first, last_before)
    if not (is_by_user or is_whole):
        return replace(compared, reason=f"of {first:%Y-%m} only whole months of users are stored, no days")
    by_cluster = _sum_clusters(costs)
    return replace(compared, cost=sum(by_cluster.values(), NOTHING), cluster_costs=by_cluster)


def _sum_rows(modes: Sequence[Row]) -> Row:
    counts = {name: sum(row[name] for row in modes) for name in ("users", "row_count", "users_ran_out")}
    return counts | {name: sum((row[name] for row in modes), NOTHING) for name in tables.AMOUNTS}


def _sum_clusters(costs: Sequence[Row]) -> dict[str | None, Decimal]:
    found: defaultdict[str | None, Decimal] = defaultdict(Decimal)
    for row in costs:
        found[row["cluster_id"]] += row["total_cost"]
    return found


def _join_clusters(costs: Sequence[Row], before: Mapping[str | None, Decimal], stored: Sequence[Row]) -> list[Row]:
    """The clusters of both months, the highest cost first; ``stored``: their names and users."""
    now, known = _sum_clusters(costs), {row["cluster_id"]: row for row in stored}
    rows = [
        {"cluster_id": cluster, "name": None, "users": 0, **known.get(cluster, {})}
        | {"cost": now.get(cluster, NOTHING), "cost_before": before.get(cluster, NOTHING)}
        for cluster in now.keys() | before.keys()
    ]
    return sorted(rows, key=lambda row: (-row["cost"], -row["cost_before"], row["cluster_id"] or ""))


def to_object(report: MonthReport) -> dict[str, object]:
    """The report as an object for --json: exact amounts, and the change against the month before."""
    before = report.before
    cost = None if before.reason else before.cost
    compared = {"from": before.first, "to": before.last, "not_compared": before.reason or None, "total_cost": cost}
    checks = [{"check": each.name, "invariant": each.invariant, "verdict": each.verdict, "note": each.note,
               "broken": each.broken, "broken_keys": each.broken_keys} for each in report.checks]  # fmt: skip
    return {
        "month": f"{report.month:%Y-%m}",
        "from": report.month,
        "to": report.last,
        "currency": report.currency,
        "cost_mode": report.cost_mode,
        "closed_at": report.closed_at,
        "closed_by": report.closed_by,
        "before": compared,
        "totals": dict(report.totals),
        "billing_modes": report.billing_modes,
        "day_costs": report.day_costs,
        "clusters": [_with_change(row, before) for row in report.clusters],
        "movers": [_with_person(_with_change(row, before), report) for row in report.movers],
        **{name: [_with_person(row, report) for row in rows] for name, rows in report.lists.items()},
        "correction_sums": report.corrections,
        "users_set_aside": report.set_aside,
        "runs": report.runs,
        "checks": checks,
        "broken": sum(1 for check in report.checks if check.broken),
    }


def find_percent(cost: Decimal, before: Decimal) -> Decimal | None:
    """By how many percent ``cost`` is more than ``before``, with one decimal; None where there was none before."""
    return None if not before else ((cost - before) * 100 / before).quantize(Decimal("0.1"))


def _with_change(row: Row, before: MonthBefore) -> Row:
    if before.reason:
        return {name: value for name, value in row.items() if name != "cost_before"}
    cost, cost_before = row["cost"], row["cost_before"]
    return {**row, "change": cost - cost_before, "percent": find_percent(cost, cost_before)}


def _with_person(row: Row, report: MonthReport) -> Row:
    person = report.people.get(row.get("user_id", ""))
    return {**row, **({} if person is None else {"name": person.name, "email": person.email})}
