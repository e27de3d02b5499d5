"""What a run looks at: its days, cost modes, prices, price overrides, billing modes, and the query that reads usage.

Decided before any usage is read, and the same for every batch. No polars here: a run that finds nothing changed needs
none.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import date, timedelta

from psycopg import sql

from jobs.domain.billing_periods import Window
from jobs.domain.fixed_point import PLACES
from jobs.domain.meters import Meter
from jobs.domain.rules import CostRules, CreditRules, PricingTerms
from jobs.postgres import billing_mode_history
from jobs.postgres.fingerprints import RowFingerprint
from jobs.postgres.price_overrides import Overrides
from jobs.postgres.run_log import MonthRecords
from jobs.postgres.usage_query import UsageQuery
from jobs.settings import Settings


@dataclass(frozen=True, slots=True)
class RunScope:
    """``modes``: the cost mode of each month; ``months``: what rollup.months has of them; ``fingerprints``: what the
    hashes of each month's rows cover; ``modes_from``: the day from which billing modes hold that rollup.billing_modes
    does not say, none where nothing is to be added to it; ``adopts``: whether a dry run is to take
    draws of another program for ours; ``rows_by_index``: whether an index leads to a usage row by its id;
    ``has_user_days``: whether user_daily has rows of these days; ``new_months``: those of which nothing is stored;
    ``begins_ledger``: whether no run has kept the ledger yet; ``trusting``, ``adopting``: users of whose unexplained
    credits the ledger, or the rows, are right; ``covered_to``: the last day that a finished run has covered, None
    before the first."""

    settings: Settings
    window: Window
    modes: Mapping[date, str]
    months: MonthRecords
    query: UsageQuery
    fingerprints: Mapping[date, RowFingerprint]
    terms: PricingTerms
    rules: CostRules
    overrides: Overrides
    modes_from: date | None
    adopts: bool
    rows_by_index: bool
    has_user_days: bool
    new_months: frozenset[date]
    covered_to: date | None = None
    begins_ledger: bool = False
    trusting: frozenset[str] = frozenset()
    adopting: frozenset[str] = frozenset()

    @property
    def currencies(self) -> dict[date, str]:
        """The currency of each month: that of the first run that covered it."""
        kept = self.months.currencies
        return {month: kept.get(month) or self.settings.currency for month in self.window.months}

    @property
    def currency(self) -> str:
        """That of the last month: sums of several months are of those that have it."""
        return self.currencies[self.window.months[-1]]

    @property
    def summed_months(self) -> list[date]:
        """The months whose amounts may be added up: those in ``currency``."""
        return [month for month, currency in self.currencies.items() if currency == self.currency]

    @property
    def credit_rules(self) -> CreditRules:
        """By what draws are computed. The ledger's scale is the smallest that any table of the source declares."""
        credits, due = self.query.read.credits, self.settings.currency_scale
        scale = due if credits.scale is None else min(credits.scale, PLACES)
        return CreditRules(scale, due, self.settings.first_drawn, credits.splits)

    @property
    def meters(self) -> tuple[Meter, ...]:
        """The meters of this run: configured, with their column, with a card on some day."""
        return self.terms.meters

    @property
    def not_comparable(self) -> frozenset[date]:
        """Months whose stored fingerprints cover something else than those that are computed now."""
        kept, months = self.months.fingerprints, self.window.months
        different = {month for month in months if kept.get(month) != self.fingerprints[month].text}
        return frozenset(different - self.new_months)

    @property
    def new_days(self) -> tuple[date, date] | None:
        """The first and the last of the days that no finished run has covered; None where there are none, or where all
        days are new."""
        if self.covered_to is None or self.covered_to >= self.window.last:
            return None
        return max(self.covered_to + timedelta(days=1), self.window.first), self.window.last

    def last_covered(self, month: date) -> date:
        """The last day of ``month`` that the run covers and a finished run has covered."""
        last = self.window.last_of(month)
        return last if self.covered_to is None else min(last, self.covered_to)

    def rates_hash(self, month: date, last: date | None = None) -> str:
        """A hash of all that prices the days of ``month`` that the run covers (up to ``last``), overrides aside."""
        digest = self.settings.rate_card.digest(
            (meter.name for meter in self.meters), month, last or self.window.last_of(month)
        )
        settings = self.settings
        most = format(settings.max_quantity.normalize(), "f")
        kinds = "".join(meter.kind[0] for meter in self.meters)
        scale = f"-{self.rules.scale}" if self.modes[month] == "rated" else ""
        return f"{digest}-{kinds}-{self.modes[month]}-{settings.tiers}-{settings.zero_means}-{most}{scale}"

    def month_rates(self, month: date, last: date | None = None) -> str:
        """What rollup.months keeps of the prices of ``month`` (up to ``last``): ``rates_hash``, and a hash of each
        meter's prices."""
        card, last = self.settings.rate_card, last or self.window.last_of(month)
        return " ".join(
            [self.rates_hash(month, last), *(f"{m.name}:{card.digest([m.name], month, last)}" for m in self.meters)]
        )

    def repriced(self, month: date) -> tuple[str, frozenset[str]]:
        """The rates_hash by which ``month`` was priced last, and the meters whose prices of covered days have changed:
        all of them where it is not known of each, or where something has changed by which every meter is priced."""
        before, *prices_before = (self.months.rates.get(month) or "-").split()
        now, *prices_now = self.month_rates(month, self.last_covered(month)).split()
        if not prices_before or before.partition("-")[2] != now.partition("-")[2]:
            return before, frozenset(meter.name for meter in self.settings.meters)
        return before, frozenset(price.partition(":")[0] for price in {*prices_before} ^ {*prices_now})

    @property
    def credit_terms(self) -> str:
        """All of the settings and of the database's shape that decides how usage is paid: a part of credits_hash."""
        return f"{self.credit_rules}-{'shown' if self.query.read.credits.shown else 'apart'}"

    def pending_modes(self, users: Collection[str] | None = None) -> sql.Composed:
        """The query of the entries that rollup.billing_modes is to get of ``users``, or of all: each batch adds those
        of its users, the end of the run those of everybody else."""
        return billing_mode_history.pending_query(self.settings, self.query.read.credits, self.modes_from, users)

    def mode_entries(self, users: Collection[str] | None = None) -> sql.Composed:
        """The query of how ``users``, or all, pay since when: rollup.billing_modes, and ``pending_modes``."""
        return billing_mode_history.entries_query(self.settings, self.query.read.credits, self.modes_from, users)

    @property
    def writes_usage(self) -> bool:
        """Whether anything of usage_daily is ours to write."""
        return bool(self.rules.rated) or self.query.read.credits.shown
