"""By which rules usage is priced and paid: what rating and allocation are told besides the rows themselves.

They stand here, and not beside the code that follows them, because a plan is made before polars is imported.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

from jobs.domain.fixed_point import PLACES
from jobs.domain.meters import Meter
from jobs.domain.rate_card import Card, RateCard


@dataclass(frozen=True, slots=True)
class PricingTerms:
    """By what usage is priced: the meters that are read, their cards, the days in question, the tiers' reach, and the
    meters of which somebody has a price override."""

    meters: tuple[Meter, ...]
    rates: RateCard
    first: date
    last: date
    tiers: str
    overridden: frozenset[str]

    def cards(self, meter: Meter) -> Sequence[Card]:
        """The cards of ``meter`` that hold on some day."""
        return self.rates.between(meter.name, self.first, self.last)


@dataclass(frozen=True, slots=True)
class CostRules:
    """``rated``: the months in which every row is priced; ``zero_is_unpriced``: a recorded 0 has no price yet;
    ``scale``: the decimals of usage_daily.total_cost, None where it has no limit."""

    rated: frozenset[date]
    zero_is_unpriced: bool
    scale: int | None


@dataclass(frozen=True, slots=True)
class CreditRules:
    """``scale``: decimals of the ledger; ``due_scale``: of amounts due; ``start``: the first day that is drawn;
    ``splits``: whether accounts count free credits used apart from purchased ones."""

    scale: int
    due_scale: int
    start: date | None
    splits: bool

    @property
    def unit(self) -> int:
        """The smallest amount of the ledger, in units of 10^-10."""
        unit: int = 10 ** (PLACES - self.scale)
        return unit

    def __str__(self) -> str:
        """A part of user_monthly.credits_hash: where these differ, everybody is computed again."""
        start = "" if self.start is None else self.start.isoformat()
        return f"{self.scale}-{self.due_scale}-{start}-{'split' if self.splits else 'one'}"
