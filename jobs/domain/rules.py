"""The rules by which usage is priced and paid: what rating and allocation need to know besides the rows.

They are here, and not in rating and credits, because the scope of a run is decided before polars is imported.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

from jobs.domain.fixed_point import PLACES
from jobs.domain.meters import Meter
from jobs.domain.rate_card import Card, RateCard

LOTS = ("free", "purchased")
"""The lots of credit, in the order in which they are used up. Where this order changes, change ``CreditRules.__str__``
too: then all users are recomputed."""


@dataclass(frozen=True, slots=True)
class PricingTerms:
    """The prices of a run: the meters that it reads, their rate card, and the days from ``first`` to ``last``.

    - ``tier_period``: "day" or "month", the period over which quantities are counted towards a tier;
    - ``overridden``: the names of meters with any price override;
    - ``overrides``: the price overrides of these days (rows of schemas.OVERRIDES).
    """

    meters: tuple[Meter, ...]
    rates: RateCard
    first: date
    last: date
    tier_period: str
    overridden: frozenset[str]
    overrides: Sequence[Mapping[str, Any]] = ()

    def cards(self, meter: Meter) -> Sequence[Card]:
        """The cards of ``meter`` in effect on any of these days."""
        return self.rates.between(meter.name, self.first, self.last)


@dataclass(frozen=True, slots=True)
class CostRules:
    """How the cost of a row is found.

    ``rated``: the months with the cost mode ``rated``. ``zero_is_missing``: whether a recorded cost of 0
    counts as missing. ``scale``: the decimals of usage_daily.total_cost; None: no limit.
    """

    rated: frozenset[date]
    zero_is_missing: bool
    scale: int | None


@dataclass(frozen=True, slots=True)
class CreditRules:
    """How credits are drawn.

    ``scale``: decimals of the ledger. ``due_scale``: decimals of amounts due. ``start``: the first day whose usage
    draws credits. ``counts_free_apart``: whether accounts count used free and used purchased credits separately.
    """

    scale: int
    due_scale: int
    start: date | None
    counts_free_apart: bool

    @property
    def unit(self) -> int:
        """The smallest amount of the ledger, in units of 10^-10."""
        unit: int = 10 ** (PLACES - self.scale)
        return unit

    def __str__(self) -> str:
        """The rules as text, for user_monthly.credits_hash: when it changes, all users are recomputed."""
        start = "" if self.start is None else self.start.isoformat()
        return f"{self.scale}-{self.due_scale}-{start}-{'split' if self.counts_free_apart else 'one'}"
