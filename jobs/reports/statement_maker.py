"""Makes statements of figures: texts and amounts as a customer reads them."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from itertools import groupby
from uuid import UUID

from jobs.domain.billing_periods import days_in, last_of
from jobs.domain.fixed_point import PLACES, scaled, unscaled
from jobs.domain.meters import Meter
from jobs.postgres.statements import Row, UserFacts
from jobs.reports.amounts import (
    Amount,
    format_number,
    format_units,
    quantize_parts,
    round_units,
    show_exactly,
    show_parts,
    show_sum,
)
from jobs.reports.statement import (
    Account,
    Change,
    DayLine,
    NamedAmount,
    Operator,
    Statement,
    UsageGroup,
    UsageLine,
)
from jobs.reports.statement_account import make_account
from jobs.reports.statement_figures import Figures, PricedLine

ACRONYMS = {"cpu": "CPU", "gpu": "GPU", "gb": "GB", "tb": "TB", "api": "API", "ram": "RAM", "io": "IO"}
CAUSES = {"usage": "usage", "price": "price", "override": "agreed price", "credit": "credits"}
PAYMENT_NAMES = {
    "credits_free": "Paid from free credits",
    "credits_purchased": "Paid from purchased credits",
    "uncovered": "Not covered by credits",
    "amount_due": "Due",
    "amount_reported": "Invoiced separately",
    "amount_free": "Free of charge",
}
MOST_QUANTITY_DECIMALS = 4


@dataclass(frozen=True, slots=True)
class MonthFacts:
    """What is the same for all statements of a month.

    - ``last``: the last covered day; ``is_closed``; ``is_over``: the calendar month has ended
    - ``places``: decimals of an amount due; ``ledger_places``: of a credit draw
    - ``tier_period``: day or month
    - ``has_entries``: whether entries of accounts can be read
    """

    month: date
    last: date
    is_closed: bool
    is_over: bool
    currency: str
    places: int
    ledger_places: int
    tier_period: str
    meters: Mapping[str, Meter]
    cluster_names: Mapping[UUID, str]
    operator: Operator
    has_entries: bool


def make_statement(facts: MonthFacts, figures: Figures, of_user: UserFacts) -> Statement:
    """Returns the statement of one user."""
    account, note = _make_account(facts, figures, of_user)
    usage, adjustment = _make_usage(facts, figures)
    payments, stored = _make_payments(facts, figures)
    days, drawn = _make_days(facts, figures)
    changes = [_make_change(facts, correction) for correction in of_user.corrections]
    return Statement(
        user=figures.user,
        name=of_user.person.name,
        email=of_user.person.email,
        operator=facts.operator,
        month=facts.month,
        last=facts.last,
        is_final=facts.is_closed,
        currency=facts.currency,
        total=show_sum([figures.total], facts.places),
        due=stored.get("amount_due"),
        uncovered=stored.get("uncovered"),
        usage=usage,
        adjustment=adjustment,
        days=days,
        drawn=drawn,
        clusters=tuple(_make_clusters(facts, figures)),
        payments=payments,
        payment_notes=tuple(_payment_notes(facts, figures, of_user)),
        shows_credits=any(drawn for *_, drawn in figures.days),
        account=account,
        account_note=note,
        earlier=tuple(change for change in changes if change.month != facts.month),
        changes=tuple(change for change in changes if change.month == facts.month),
        rejected=tuple(figures.rejected),
        step=f"{unscaled(10 ** (PLACES - facts.places)):.{facts.places}f}",
    )


def name_meter(meter: Meter) -> str:
    """Returns a meter's name as a customer reads it: CPU hours for cpu_hours; of a level without its unit."""
    words = meter.name.split("_")
    if meter.is_level and len(words) > 1 and words[-1] == meter.unit.lower():
        words = words[:-1]
    text = " ".join(ACRONYMS.get(word, word) for word in words)
    return text[:1].upper() + text[1:]


def _make_usage(facts: MonthFacts, figures: Figures) -> tuple[tuple[UsageGroup, ...], Amount | None]:
    """The lines by meter, and the adjustment; all shown amounts add up to the shown total."""
    parts = [*(line.charge for line in figures.lines), figures.adjustment]
    *amounts, adjustment = show_parts(parts, facts.places)
    units = quantize_parts(parts, facts.places)
    groups = []
    for name, numbered in groupby(enumerate(figures.lines), key=lambda pair: pair[1].meter):
        pairs, meter = list(numbered), facts.meters[name]
        lines = tuple(_make_line(facts, meter, line, amounts[number]) for number, line in pairs)
        exact = unscaled(sum(line.charge for _, line in pairs))
        shown = format_units(sum(units[number] for number, _ in pairs), facts.places)
        groups.append(UsageGroup(name_meter(meter), lines, Amount(exact, shown)))
    return tuple(groups), adjustment if figures.adjustment else None


def _make_line(facts: MonthFacts, meter: Meter, line: PricedLine, amount: Amount) -> UsageLine:
    quantity, unit = unscaled(line.quantity), meter.unit
    if meter.is_level:
        quantity, unit = quantity / days_in(facts.month), f"{unit}-months"
    shown = f"{format_number(round(quantity, MOST_QUANTITY_DECIMALS), MOST_QUANTITY_DECIMALS)} {unit}".rstrip()
    price = f"{format_number(unscaled(line.price), least=2)} per {_describe_per(meter, line.per)}"
    if line.discount is not None:
        price += f", less {format_number(unscaled(line.discount))} %"
    return UsageLine(_describe_tier(facts, meter, line), shown, price, _describe_source(line), amount)


def _describe_per(meter: Meter, per: int) -> str:
    unit = meter.unit or "unit"
    if per != 1:
        unit = f"{per:,} {unit}"
    elif len(unit) > 2:
        unit = unit.removesuffix("s")
    return f"{unit} and month" if meter.is_level else unit


def _describe_tier(facts: MonthFacts, meter: Meter, line: PricedLine) -> str:
    if not line.tier_from:
        return ""
    unit = f"{meter.unit}-months" if meter.is_level and facts.tier_period == "month" else meter.unit
    return f"above {format_number(unscaled(line.tier_from))} {unit} a {facts.tier_period}".replace("  ", " ")


def _describe_source(line: PricedLine) -> str:
    if not line.is_override:
        return line.source
    return "price agreed with you" if line.discount is None else "discount agreed with you"


def _make_days(facts: MonthFacts, figures: Figures) -> tuple[tuple[DayLine, ...], Amount]:
    """The days, and the sum of the credits that were used for them."""
    costs = show_parts([cost for _, cost, _ in figures.days], facts.places)
    drawn = [drawn for *_, drawn in figures.days]
    *draws, total = show_exactly([*drawn, sum(drawn)], facts.places)
    days = (day for day, *_ in figures.days)
    return tuple(DayLine(*line) for line in zip(days, costs, draws, strict=True)), total


def _make_clusters(facts: MonthFacts, figures: Figures) -> Iterator[NamedAmount]:
    named = sorted((_name_cluster(facts, cluster), cluster or 0, cost) for cluster, cost in figures.clusters)
    amounts = show_parts([cost for *_, cost in named], facts.places)
    yield from (NamedAmount(name, amount) for (name, *_), amount in zip(named, amounts, strict=True))


def _name_cluster(facts: MonthFacts, cluster: int | None) -> str:
    if cluster is None:
        return "No cluster"
    id_ = UUID(int=cluster)
    return facts.cluster_names.get(id_) or f"Cluster {id_}"


def _make_payments(facts: MonthFacts, figures: Figures) -> tuple[tuple[NamedAmount, ...], dict[str, Amount]]:
    """The lines that add up to the total; and the stored amounts by column."""
    known = {name: value for name, value in figures.payments.items() if value is not None}
    lines = [(PAYMENT_NAMES[name], value) for name, value in known.items() if value]
    lines += [(name, value) for name, value in _other_payments(facts, figures, len(known)) if value]
    shown = show_exactly([value for _, value in lines], facts.places)
    stored = dict(zip(known, show_exactly([*known.values()], facts.places), strict=True))
    return tuple(NamedAmount(name, amount) for (name, _), amount in zip(lines, shown, strict=True)), stored


def _other_payments(facts: MonthFacts, figures: Figures, known: int) -> Iterator[tuple[str, int]]:
    """Yields what no column of user_monthly has; the last one makes the lines add up to the shown total."""
    early = round_units(figures.early, facts.places)
    yield "Before credits were used: not charged", early
    yield "Paid with another month", figures.elsewhere
    if known < len(figures.payments):
        return  # An older version stored less: what is missing is not rounding.
    paid = sum(value or 0 for value in figures.payments.values()) + early + figures.elsewhere
    rest = round_units(figures.total, facts.places) - paid
    steps = 10 ** (PLACES - facts.places) + 10 ** (PLACES - facts.ledger_places)
    yield "Rounding" if abs(rest) <= 2 * steps else "Other months", rest


def _payment_notes(facts: MonthFacts, figures: Figures, of_user: UserFacts) -> Iterator[str]:
    if None in figures.payments.values():
        yield "How all of this cost is paid is not on record: the month is older than these records."
    if of_user.late:
        [late] = show_exactly([scaled(of_user.late)], facts.places)
        verb = "were" if of_user.late > 0 else "less were"
        yield (
            f"Of the credits, {late.shown.lstrip('−')} {facts.currency} {verb} taken from the account after "
            f"{last_of(facts.month):%-d %B %Y}: the entry is in the account of a later month."
        )
    if (debt := of_user.debt) is not None and debt["written_off"]:
        left = debt["amount"] - debt["settled"] - debt["written_off"]
        written_off, left = show_exactly([scaled(debt["written_off"]), scaled(left)], facts.places)
        yield (
            f"Of what credits do not cover, {written_off.shown} {facts.currency} will not be asked for; "
            f"{left.shown} {facts.currency} are still open."
        )


def _make_account(facts: MonthFacts, figures: Figures, of_user: UserFacts) -> tuple[Account | None, str]:
    """The account, and a sentence where it cannot be shown, or not all of it."""
    uses_credits = any(figures.payments[name] for name in ("credits_free", "credits_purchased", "uncovered"))
    if not facts.has_entries:
        return None, "The entries of your credit account are not part of this statement." if uses_credits else ""
    try:
        account = make_account(of_user.entries, of_user.balances, facts.month, facts.places, is_over=facts.is_over)
    except ValueError:
        return None, "The entries of your credit account cannot be shown: an amount among them is not a valid number."
    if account is None:
        return None, "No entry of a credit account is on record up to the end of this month." if uses_credits else ""
    if account.opening is None:
        return account, (
            "The balance before and after the month is left out: the entries on record do not add up to one balance."
        )
    return account, ""


def _make_change(facts: MonthFacts, correction: Row) -> Change:
    causes = " and ".join(CAUSES.get(cause, cause) for cause in correction["cause"].split("+"))
    why = f"{correction['reason']} ({causes})" if correction["reason"] else causes[:1].upper() + causes[1:]

    def show(value: Decimal | None) -> Amount | None:
        return None if value is None else show_sum([scaled(value)], facts.places)

    def difference(name: str) -> Amount | None:
        old, new = correction[f"old_{name}"], correction[f"new_{name}"]
        return None if old is None or new is None else show(new - old)

    return Change(
        month=correction["month"],
        day=correction["day"],
        why=why,
        currency=correction["currency"] or facts.currency,
        before=show(correction["old_total"]),
        after=show(correction["new_total"]),
        due=difference("amount_due"),
        credits=difference("credits_deducted"),
    )
