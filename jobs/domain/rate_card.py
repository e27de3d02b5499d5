"""The rate card: dated prices per meter, each with a reference to its source; parsed from CSV text and validated."""

import csv
import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from decimal import Decimal, InvalidOperation
from itertools import groupby, pairwise

from jobs.domain.errors import ConfigError
from jobs.domain.fixed_point import ONE, scaled

HEADER = ["meter", "effective_from", "tier_from", "price", "per", "reference"]
# A row's quantity (at most 9e18 units) × price (1e17 units) ÷ 10^10 × discount (1e12 units) stays below 2^127.
MAX_PRICE = 10**7
# More than any cumulative quantity. Monthly tiers of a level multiply it by 31 days: still far below 2^127.
MAX_TIER = 10**15


@dataclass(frozen=True, slots=True)
class Tier:
    """The price of quantities from ``start`` on (both in units of 10^-10); ``line``: its line in the file."""

    start: int
    price: int
    reference: str
    line: int


@dataclass(frozen=True, slots=True)
class Card:
    """The prices of one meter from a day on. The first tier starts at 0; several tiers form a graduated price.

    ``per``: the number of units (1 or 1000) that a price is for.
    """

    meter: str
    effective_from: date
    per: int
    tiers: tuple[Tier, ...]

    @property
    def name(self) -> str:
        return f"{self.meter} from {self.effective_from}"

    def bounds(self) -> Iterator[tuple[Tier, int | None]]:
        """Each tier with the quantity at which it ends; None for the last tier."""
        yield from zip(self.tiers, [tier.start for tier in self.tiers[1:]] + [None], strict=True)


@dataclass(frozen=True, slots=True)
class RateCard:
    """Every card of every meter, oldest first; ``source``: the file they came from."""

    source: str
    cards: Mapping[str, tuple[Card, ...]]

    def on(self, meter: str, day: date) -> Card | None:
        """The card in effect on ``day``; None if there is none."""
        earlier = [card for card in self.cards.get(meter, ()) if card.effective_from <= day]
        return earlier[-1] if earlier else None

    def between(self, meter: str, first: date, last: date) -> list[Card]:
        """The cards in effect on any day from ``first`` to ``last``, oldest first."""
        later = [card for card in self.cards.get(meter, ()) if first < card.effective_from <= last]
        earlier = self.on(meter, first)
        return [earlier, *later] if earlier else later

    def listed(self) -> dict[str, str]:
        """The tiers of each card as text, by the card's name: "0 from 0, 0.1 from 10, per 1"."""
        return {
            card.name: ", ".join(
                [*(f"{_plain(tier.price)} from {_plain(tier.start)}" for tier in card.tiers), f"per {card.per}"]
            )
            for cards in self.cards.values()
            for card in cards
        }

    def lines(self) -> dict[str, int]:
        """The first line of each card by its name."""
        return {card.name: card.tiers[0].line for cards in self.cards.values() for card in cards}

    def digest(self, meters: Iterable[str], first: date, last: date) -> str:
        """A stable hash of the prices of ``meters`` from ``first`` to ``last``; references are not part of it."""
        facts = [
            (card.meter, str(max(card.effective_from, first)), card.per, [(t.start, t.price) for t in card.tiers])
            for meter in sorted(meters)
            for card in self.between(meter, first, last)
        ]
        return hashlib.sha256(repr(facts).encode()).hexdigest()[:16]


def parse(text: str, source: str, meters: Iterable[str]) -> RateCard:
    """The rate card in ``text``. Raises ConfigError naming ``source``, line, value and remedy of the first mistake."""
    known = tuple(meters)
    header, *others = text.splitlines() or [""]
    if [cell.strip() for cell in _cells(source, 1, header)] != HEADER:
        raise ConfigError(
            f"{source} line 1: expected the header {','.join(HEADER)}; found {header.strip() or 'an empty file'}"
        )
    rows = ((number, _cells(source, number, line)) for number, line in enumerate(others, start=2))
    lines = [_line(source, number, row, known) for number, row in rows if any(cell.strip() for cell in row)]
    lines.sort(key=lambda line: (line[0], line[1]))
    cards: dict[str, list[Card]] = {}
    for (meter, day), group in groupby(lines, key=lambda line: (line[0], line[1])):
        cards.setdefault(meter, []).append(_card(source, meter, day, [line[2:] for line in group]))
    return RateCard(source, {meter: tuple(dated) for meter, dated in cards.items()})


def _cells(source: str, number: int, line: str) -> list[str]:
    """The values of a line; none for a comment.

    A quoted value must end in its own line: otherwise the lines after it would become part of the value.
    """
    if line.lstrip().startswith("#"):
        return []
    try:
        row = next(csv.reader([line], strict=True), [])
    except csv.Error:
        raise ConfigError(
            f"{source} line {number}: expected each quotation mark to be closed in the same line, before a comma or "
            f"the line's end; found {line.strip()!r}. Close it, or write it twice within a quoted value"
        ) from None
    return [] if row and row[0].lstrip().startswith("#") else row


def _line(source: str, number: int, row: list[str], known: tuple[str, ...]) -> tuple[str, date, int, Tier]:
    where = f"{source} line {number}"
    if len(row) != len(HEADER):
        raise ConfigError(f"{where}: expected {len(HEADER)} values ({','.join(HEADER)}); found {len(row)}: {row}")
    meter, since, tier_from, price, per, reference = (cell.strip() for cell in row)
    if meter not in known:
        raise ConfigError(
            f"{where}: unknown meter {meter!r}; the settings know {', '.join(known)}. "
            f"Correct the name, add [meters.{meter}] to the settings, or take the line out"
        )
    try:
        day = date.fromisoformat(since)
    except ValueError:
        raise ConfigError(f"{where}: effective_from = {since!r}: expected a day such as 2026-01-31") from None
    if per not in ("1", "1000"):
        raise ConfigError(f"{where}: per = {per!r}: expected 1 or 1000")
    amounts = (_amount(where, "tier_from", tier_from, MAX_TIER), _amount(where, "price", price, MAX_PRICE))
    return meter, day, int(per), Tier(*amounts, reference, number)


def _amount(where: str, name: str, text: str, most: int) -> int:
    try:
        units = scaled(Decimal(text))
    except InvalidOperation:
        raise ConfigError(f"{where}: {name} = {text!r}: expected a number, such as 0.10") from None
    except ValueError as mistake:
        raise ConfigError(f"{where}: {name} = {text!r}: {mistake}; expected a number, such as 0.10") from None
    if units < 0:
        raise ConfigError(f"{where}: {name} = {text!r}: expected a number of at least 0")
    if units > most * ONE:
        raise ConfigError(f"{where}: {name} = {text!r}: expected at most {most}")
    return units


def _card(source: str, meter: str, day: date, lines: list[tuple[int, Tier]]) -> Card:
    first_per, first = lines[0]
    what = f"{meter} from {day}"
    if first.start != 0:
        raise ConfigError(
            f"{source} line {first.line}: {what}: the tiers start at {_plain(first.start)}; expected the first "
            "tier_from to be 0, so that every quantity has a price (list tiers in ascending order)"
        )
    for (_, before), (per, tier) in pairwise(lines):
        if tier.start <= before.start:
            kind = "duplicate" if tier.start == before.start else "unsorted"
            raise ConfigError(
                f"{source} line {tier.line}: {what}: {kind} tier_from {_plain(tier.start)} after "
                f"{_plain(before.start)} in line {before.line}; expected ascending values, each once"
            )
        if per != first_per:
            raise ConfigError(
                f"{source} line {tier.line}: {what}: per = {per}; expected {first_per} as in line {first.line}: "
                "all tiers of a card have the same per"
            )
    return Card(meter, day, first_per, tuple(tier for _, tier in lines))


def _plain(units: int) -> str:
    return format((Decimal(units) / ONE).normalize(), "f")
