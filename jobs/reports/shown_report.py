"""The operator's report as people see it: names, amounts with two decimals that add up, and what needs attention."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Any, NamedTuple

from jobs.domain.wording import count, format_figure
from jobs.postgres.month_report import LIST, MOVERS, Row
from jobs.reports.month_report import NOTHING, MonthReport, find_percent
from jobs.reports.pages import CENT, round_to_sum

NO_CLUSTER = "without a cluster"
OTHERS = "all others"
AMOUNTS = ("total_cost", "credits_deducted", "uncovered", "amount_due")
"""The columns of the tables of billing modes and of users with the highest cost."""


class Change(NamedTuple):
    """A line of a table of changes: who or what, the cost now and before, and the difference; amounts rounded."""

    name: str
    id: str | None
    cost: Decimal
    cost_before: Decimal
    users: int | None = None

    @property
    def change(self) -> Decimal:
        return self.cost - self.cost_before

    @property
    def percent(self) -> str:
        """The change in percent; new: there was no cost before."""
        return format_percent(self.cost, self.cost_before)


class Line(NamedTuple):
    """A line of a table: its text, and amounts and numbers. ``id``: of the user, where it is one."""

    text: str
    figures: Sequence[Any]
    id: str | None = None
    remark: str = ""


class Alarm(NamedTuple):
    """A sentence on what needs attention, and the part of the page that says more."""

    text: str
    part: str


@dataclass(frozen=True, slots=True)
class ShownReport:
    """The tables of the report. In each table with a total, the shown amounts add up to it.

    - ``payments``: how the cost is paid; the last line is the cost
    - ``days``: cost and credits drawn by day, and the total
    - ``clusters``: by cost, the rest in one line, and the total
    - ``cluster_movers``, ``user_movers``: whose cost has changed most
    - ``billing_modes``, ``top_users``: by cost, with a total
    - ``ran_out``, ``corrections``: with a total where there is more than one line
    """

    report: MonthReport
    payments: Sequence[Line]
    days: Sequence[tuple[date, Decimal, Decimal]]
    clusters: Sequence[Change]
    cluster_movers: Sequence[Change]
    user_movers: Sequence[Change]
    billing_modes: Sequence[Line]
    top_users: Sequence[Line]
    ran_out: Sequence[Line]
    corrections: Sequence[Line]
    total: Change
    alarms: Sequence[Alarm]


def show_report(report: MonthReport, most: int = LIST) -> ShownReport:
    """Returns what people see of ``report``, with ``most`` lines in tables of clusters and users, the rest in one."""
    clusters = _show_clusters(report)
    total = Change("total", None, cents(report.totals["total_cost"]), cents(report.before.cost), report.totals["users"])
    changed = sorted((row for row in clusters if row.change), key=lambda row: (-abs(row.change), row.name))
    return ShownReport(
        report=report,
        payments=_show_payments(report.totals),
        days=_show_days(report),
        clusters=_with_others(clusters, most),
        cluster_movers=[] if report.before.reason else changed[: min(most, MOVERS)],
        user_movers=[_show_mover(report, row) for row in report.movers[:most]],
        billing_modes=_show_modes(report),
        top_users=_show_users(report, "top_users", AMOUNTS, report.totals["users"], most),
        ran_out=_show_users(report, "ran_out", ["uncovered"], report.totals["users_ran_out"])
        if report.lists["ran_out"]
        else [],
        corrections=_show_corrections(report),
        total=total,
        alarms=list(_find_alarms(report)),
    )


def cents(amount: Decimal) -> Decimal:
    """The amount with two decimals, rounded half to even as ``format_figure`` does."""
    return amount.quantize(CENT)


def format_percent(cost: Decimal, before: Decimal) -> str:
    """The change in percent with its sign; new: there was no cost before."""
    percent = find_percent(cost, before)
    return ("new" if cost else "") if percent is None else f"{percent:+,}%"


def format_change(amount: Decimal) -> str:
    """An amount with its sign."""
    return f"{'+' if amount > 0 else ''}{format_figure(amount)}"


def _show_payments(totals: Row) -> list[Line]:
    """How the cost is paid. The rest: prepaid usage before the first day of credits, and what rounding leaves."""
    parts = (
        ("paid with free credits", "credits_free"),
        ("paid with purchased credits", "credits_purchased"),
        ("uncovered: no credit pays for it", "uncovered"),
        ("due: users who pay later", "amount_due"),
        ("reported to another system of payment", "amount_reported"),
        ("free of charge", "amount_free"),
    )
    lines = [Line(text, [cents(totals[name])]) for text, name in parts]
    cost = cents(totals["total_cost"])
    rest = cost - sum((cents(totals[name]) for _, name in parts), NOTHING)
    if rest:
        lines.append(Line("not to be paid: before the first day of credits, and rounding", [rest]))
    return [*lines, Line("cost", [cost])]


def _show_days(report: MonthReport) -> list[tuple[date, Decimal, Decimal]]:
    days = sorted({row["date"] for row in report.day_costs})
    columns = []
    for name in ("total_cost", "credits_deducted"):
        sums = dict.fromkeys(days, NOTHING)
        for row in report.day_costs:
            sums[row["date"]] += row[name]
        columns.append(round_to_sum([sums[day] for day in days]))
    return list(zip(days, *columns, strict=True))


def _show_clusters(report: MonthReport) -> list[Change]:
    """All clusters; their amounts are rounded so that they add up."""
    now, before = (round_to_sum([row[name] for row in report.clusters]) for name in ("cost", "cost_before"))
    names = [_name_cluster(row) for row in report.clusters]
    return [
        Change(name, row["cluster_id"], cost, cost_before, row["users"])
        for row, name, cost, cost_before in zip(report.clusters, names, now, before, strict=True)
    ]


def _name_cluster(row: Row) -> str:
    return NO_CLUSTER if row["cluster_id"] is None else row["name"] or row["cluster_id"]


def _with_others(clusters: Sequence[Change], most: int) -> list[Change]:
    """The first clusters, and the sum of the others; their users are not counted, because one may use several."""
    if len(clusters) <= most:
        return list(clusters)
    others = clusters[most:]
    cost, before = sum((row.cost for row in others), NOTHING), sum((row.cost_before for row in others), NOTHING)
    return [*clusters[:most], Change(f"{OTHERS} ({len(others):,})", None, cost, before)]


def _show_mover(report: MonthReport, row: Row) -> Change:
    return Change(name_user(report, row["user_id"]), row["user_id"], cents(row["cost"]), cents(row["cost_before"]))


def name_user(report: MonthReport, user: str) -> str:
    """The name and e-mail address of a user, where they are known; else an empty text: the id stands beside it."""
    person = report.people.get(user)
    return "" if person is None else ", ".join(filter(None, person))


def _show_modes(report: MonthReport) -> list[Line]:
    columns = [round_to_sum([row[name] for row in report.billing_modes]) for name in AMOUNTS]
    lines = [
        Line(row["billing_mode"], [row["users"], *amounts])
        for row, *amounts in zip(report.billing_modes, *columns, strict=True)
    ]
    return [*lines, Line("total", [report.totals["users"], *(cents(report.totals[name]) for name in AMOUNTS)])]


def _show_users(report: MonthReport, name: str, amounts: Sequence[str], users: int, most: int = LIST) -> list[Line]:
    """The first of ``users`` in the list ``name`` with ``amounts``, the others in one line, and the totals."""
    lines = [
        Line(
            name_user(report, row["user_id"]),
            [cents(row[amount]) for amount in amounts],
            row["user_id"],
            row.get("billing_mode", ""),
        )
        for row in report.lists[name][:most]
    ]
    return _with_rest(lines, [cents(report.totals[amount]) for amount in amounts], users, "user")


def _with_rest(lines: list[Line], totals: Sequence[Decimal | None], number: int, noun: str) -> list[Line]:
    """``lines``, what they lack to ``totals`` (None: not added up) in one line, and the totals of ``number`` lines."""
    more = number - len(lines)
    rest = [
        None if total is None else total - sum((line.figures[place] for line in lines), NOTHING)
        for place, total in enumerate(totals)
    ]
    if more or any(rest):
        lines = [*lines, Line(f"{OTHERS} ({more:,})" if more else "rounding", rest)]
    return [*lines, Line(f"total of {count(number, noun)}", totals)]


def _show_corrections(report: MonthReport) -> list[Line]:
    lines = []
    for row in report.lists["corrections"]:
        old, new = cents(row["old_total"]), cents(row["new_total"])
        when = f"run {row['run_id']}" + (f", {row['corrected_at']:%Y-%m-%d}" if row["corrected_at"] else "")
        remark = f"{row['cause'].replace('+', ', ')}{': ' if row['reason'] else ''}{row['reason'] or ''} ({when})"
        lines.append(Line(name_user(report, row["user_id"]), [old, new, new - old], row["user_id"], remark))
    of_all = report.corrections
    return (
        _with_rest(lines, [None, None, cents(of_all["change"])], of_all["corrections"], "correction") if lines else []
    )


def _find_alarms(report: MonthReport) -> Iterator[Alarm]:
    """Yields what a person should look at, the most urgent first."""
    currency = report.currency
    if broken := [check.name for check in report.checks if check.broken]:
        yield Alarm(f"{count(len(broken), 'invariant check')} broken: {'; '.join(broken)}", "invariants")
    if report.set_aside:
        yield Alarm(f"{count(report.set_aside, 'user')} set aside: nothing of them is written", "set-aside")
    if rejected := sum(row["rows"] for row in report.lists["rejects"]):
        yield Alarm(f"{count(rejected, 'usage row')} rejected: not priced", "rejects")
    if users := report.totals["users_ran_out"]:
        amount = format_figure(report.totals["uncovered"])
        yield Alarm(f"{count(users, 'user')} ran out of credit: {amount} {currency} uncovered", "ran-out")
    if number := report.corrections["corrections"]:
        change = format_change(cents(report.corrections["change"]))
        yield Alarm(f"{count(number, 'correction')} of this month: {change} {currency}", "corrections")
    if owed := [row for row in report.lists["debts"] if row["open"]]:
        texts = (f"{format_figure(row['open'])} {row['currency']} for {row['month']:%Y-%m}" for row in owed)
        yield Alarm(f"Open debts: {', '.join(texts)}", "debts")
    if report.runs and report.runs[0]["status"] in ("failed", "crashed"):
        yield Alarm(f"The last run (run {report.runs[0]['run_id']}) {report.runs[0]['status']}", "runs")


def describe_month(report: MonthReport) -> str:
    """The days and state of the month in a sentence."""
    days = f"{report.month} to {report.last}"
    if report.closed_at is not None:
        return f"{days}, closed on {report.closed_at:%Y-%m-%d} by run {report.closed_by}"
    return f"{days}, open: figures may still change"


def describe_before(report: MonthReport) -> str:
    """What the month is compared with, in a sentence."""
    before = report.before
    if before.reason:
        return f"Not compared with the month before: {before.reason}."
    return f"Compared with {before.first} to {before.last}."


def cluster_days(shown: ShownReport, most: int) -> Mapping[str, list[tuple[date, Decimal]]]:
    """The cost by day of each of the clusters with the highest cost, the others in one; by name, for a chart."""
    first = [row for row in shown.report.clusters if row["cost"]]
    own = first if len(first) <= most else first[: most - 1]
    names = [_name_cluster(row) for row in own]
    labels = {
        row["cluster_id"]: f"{name} {row['cluster_id']}" if names.count(name) > 1 and row["cluster_id"] else name
        for row, name in zip(own, names, strict=True)
    }
    found: dict[str, dict[date, Decimal]] = {name: {} for name in (*labels.values(), OTHERS)}
    for row in shown.report.day_costs:
        days = found[labels.get(row["cluster_id"], OTHERS)]
        days[row["date"]] = days.get(row["date"], NOTHING) + row["total_cost"]
    return {name: list(days.items()) for name, days in found.items() if days}
