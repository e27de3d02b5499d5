"""The entries of a credit account in a month, with the balances before and after, where these are certain.

Only credit_transactions has a history; user_credits has the present amounts alone. So a balance is shown where the
entries themselves prove it: the newest entry before the month and the first one in it state the same balance, and the
entries of the month add up to the balance that the last of them states. Entries that came later change nothing.
"""

from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from datetime import date
from decimal import Decimal

from jobs.domain.fixed_point import scaled
from jobs.postgres.statements import Balances, Entry
from jobs.reports.amounts import show_exactly
from jobs.reports.statement import Account, NamedAmount

KINDS = {
    "purchase": "Credits purchased",
    "grant": "Free credits granted",
    "refund": "Refund",
    "adjustment": "Adjustment",
    "usage": "Credits used",
}
"""What a customer reads for the types of credit_transactions; another type is shown as it is."""


def find_balances(found: Balances) -> tuple[Decimal, Decimal] | None:
    """Returns the balances before and after the month; None where the entries do not prove them."""
    before = _last_balances(found.earlier_before, found.earlier_after)
    first, last = found.first_before, found.last_after
    if first is None or last is None:
        return (before[0], before[0]) if len(before) == 1 else None
    openings = {value for value in first if found.earlier_after is None or value in found.earlier_after}
    proven = {opening for opening in openings if opening + found.amount in last}
    if len(proven) != 1:
        return None
    [opening] = proven
    return opening, opening + found.amount


def _last_balances(before: Collection[Decimal] | None, after: Collection[Decimal] | None) -> list[Decimal]:
    """Returns the balances after which none of some entries of one moment follows."""
    return list((Counter(after or ()) - Counter(before or ())).elements()) or list(set(after or ()))


def make_account(
    entries: Sequence[Entry], found: Balances | None, month: date, places: int, *, is_over: bool
) -> Account | None:
    """Returns the account of a month; None where no entry is known. ``is_over``: the calendar month has ended.

    Raises ValueError for an amount that is no finite number, or has more than ten decimals.
    """
    if found is None:
        return None
    lines = [line for entry in entries for line in _lines(entry)]
    balances = find_balances(found)
    units = [scaled(amount) for _, _, amount in lines]
    shown = show_exactly([*units, *(scaled(value) for value in balances or ())], places)
    named = tuple(NamedAmount(name, amount, day) for (name, day, _), amount in zip(lines, shown, strict=False))
    if balances is None:
        return Account(None, named, None)
    end = "Balance at the end of the month" if is_over else "Balance after these entries"
    return Account(NamedAmount(f"Balance at the start of {month:%B %Y}", shown[-2]), named, NamedAmount(end, shown[-1]))


def _lines(entry: Entry) -> Iterator[tuple[str, date | None, Decimal]]:
    """Yields the lines of an entry: text, day, and what it adds to the balance."""
    if entry.kind != "usage":
        yield KINDS.get(entry.kind, entry.kind), entry.day, entry.amount
        return
    of = f" for usage of {entry.usage_month:%B %Y}" if entry.usage_month else ""
    if entry.free is None or entry.purchased is None or entry.free + entry.purchased != -entry.amount:
        yield f"Credits used{of}", None, entry.amount
        return
    for kind, taken in (("Free", entry.free), ("Purchased", entry.purchased)):
        if taken:
            yield f"{kind} credits {'used' if taken > 0 else 'given back'}{of}", None, -taken
