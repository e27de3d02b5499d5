"""What a statement shows: the values that its template may name. Texts are as a customer reads them."""

from dataclasses import dataclass
from datetime import date

from jobs.reports.amounts import Amount


@dataclass(frozen=True, slots=True)
class Operator:
    """Who sends the statement: name, the lines of the address, and the logo as a data URI; empty where not set."""

    name: str = ""
    address: tuple[str, ...] = ()
    logo: str = ""


@dataclass(frozen=True, slots=True)
class UsageLine:
    """A quantity with one price, and its charge.

    - ``detail``: the tier; empty: there is none
    - ``price``: with what it is for; ``source``: the reference of the price
    """

    detail: str
    quantity: str
    price: str
    source: str
    amount: Amount


@dataclass(frozen=True, slots=True)
class UsageGroup:
    """The lines of one meter, and their sum."""

    name: str
    lines: tuple[UsageLine, ...]
    amount: Amount


@dataclass(frozen=True, slots=True)
class DayLine:
    """The cost of a day, and the credits that were used for it."""

    day: date
    amount: Amount
    drawn: Amount


@dataclass(frozen=True, slots=True)
class NamedAmount:
    """A line of a table of amounts. ``day``: of an entry; None: it has none, or stands for several."""

    name: str
    amount: Amount
    day: date | None = None


@dataclass(frozen=True, slots=True)
class Account:
    """The entries of an account in the month; the balances before and after are None where they are not certain."""

    opening: NamedAmount | None
    entries: tuple[NamedAmount, ...]
    closing: NamedAmount | None


@dataclass(frozen=True, slots=True)
class Change:
    """A correction of a closed month: why, and the amounts before and after (None: not recorded)."""

    month: date
    day: date
    why: str
    currency: str
    before: Amount | None
    after: Amount | None
    due: Amount | None
    credits: Amount | None


@dataclass(frozen=True, slots=True)
class Statement:
    """A statement of one user and month.

    - ``last``: the last day that is included; ``is_final``: whether the month is closed
    - ``usage``: by meter; ``adjustment``: recorded cost less list cost, None: there is none
    - ``payments``: lines that add up to ``total``; ``payment_notes``: sentences on them
    - ``account``: None: not shown, and ``account_note`` may say why
    - ``drawn``: sum of the credits of ``days``; ``shows_credits``: whether credits matter to this user in this month
    - ``earlier``: corrections of earlier months made in this month; ``changes``: corrections of this month
    - ``rejected``: days with records that are not charged, and how many
    - ``step``: the last decimal that is shown, such as 0.01
    """

    user: str
    name: str | None
    email: str | None
    operator: Operator
    month: date
    last: date
    is_final: bool
    currency: str
    total: Amount
    due: Amount | None
    uncovered: Amount | None
    usage: tuple[UsageGroup, ...]
    adjustment: Amount | None
    days: tuple[DayLine, ...]
    drawn: Amount
    clusters: tuple[NamedAmount, ...]
    payments: tuple[NamedAmount, ...]
    payment_notes: tuple[str, ...]
    shows_credits: bool
    account: Account | None = None
    account_note: str = ""
    earlier: tuple[Change, ...] = ()
    changes: tuple[Change, ...] = ()
    rejected: tuple[tuple[date, int], ...] = ()
    step: str = ""
