"""The scope of a run: its days, cost modes, prices, price overrides, billing modes, and the query that reads usage.

It is decided before any usage is read, and is the same for every batch. No polars here: a run that finds nothing
changed does not import it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, timedelta

from jobs.domain.backfill_request import Backfill
from jobs.domain.billing_periods import Window
from jobs.domain.fixed_point import PLACES
from jobs.domain.meters import Meter
from jobs.domain.rules import CostRules, CreditRules, PricingTerms
from jobs.postgres.credit_capabilities import CreditCapabilities
from jobs.postgres.fingerprints import FingerprintDefinition
from jobs.postgres.price_overrides import Overrides
from jobs.postgres.run_log import MonthRecords
from jobs.postgres.source_capabilities import Counts, SourceCapabilities
from jobs.postgres.usage_query import UsageQuery
from jobs.settings import Settings


@dataclass(frozen=True, slots=True)
class RunScope:
    """What is the same for all batches of a run.

    - ``cost_modes``: the cost mode of each month
    - ``month_records``: the rows of rollup.months
    - ``fingerprint_definitions``: what the fingerprints of each month's rows include
    - ``billing_modes_from``: the first day on which a changed billing mode is valid; None: no entries are to be added
    - ``adopts``: draws of another program count as adopted: in a dry run, and in the change check
    - ``has_user_days``: whether user_daily has rows of these days
    - ``new_months``: months of which nothing is stored
    - ``covered_to``: the last day that a finished run has covered; None before the first
    - ``begins_ledger``: whether no run has written to the ledger yet
    - ``trusted_ledger_users``, ``adopted_users``: users for whom, of unexplained credits, the ledger is right
      (--trust-ledger), or the usage rows are (--adopt)
    - ``notes``: for the run summary
    - ``backfill``: what was asked for, if the run is a backfill
    - ``counts``: of accounts and overrides, now and before
    """

    settings: Settings
    window: Window
    cost_modes: Mapping[date, str]
    month_records: MonthRecords
    query: UsageQuery
    fingerprint_definitions: Mapping[date, FingerprintDefinition]
    pricing_terms: PricingTerms
    cost_rules: CostRules
    overrides: Overrides
    billing_modes_from: date | None
    adopts: bool
    has_user_days: bool
    new_months: frozenset[date]
    covered_to: date | None = None
    begins_ledger: bool = False
    trusted_ledger_users: frozenset[str] = frozenset()
    adopted_users: frozenset[str] = frozenset()
    notes: tuple[str, ...] = ()
    backfill: Backfill | None = None
    counts: Counts = field(default_factory=dict)

    @property
    def source(self) -> SourceCapabilities:
        return self.query.source

    @property
    def credits(self) -> CreditCapabilities:
        return self.query.source.credits

    @property
    def kind(self) -> str:
        """The kind of the run in rollup.runs."""
        return "run" if self.backfill is None else "backfill"

    @property
    def reason(self) -> str | None:
        return None if self.backfill is None else self.backfill.reason

    @property
    def lists_changes(self) -> bool:
        """Whether every row to be written is listed, because the changes are shown or compared with a plan."""
        return self.backfill is not None

    @property
    def currencies(self) -> dict[date, str]:
        """The currency of each month: that of the first run that covered it."""
        stored = self.month_records.currencies
        return {month: stored.get(month) or self.settings.currency for month in self.window.months}

    @property
    def currency(self) -> str:
        """The currency of the last month. Sums over several months include only months in this currency."""
        return self.currencies[self.window.months[-1]]

    @property
    def summed_months(self) -> list[date]:
        """The months whose amounts may be added up: those in ``currency``."""
        return [month for month, currency in self.currencies.items() if currency == self.currency]

    @property
    def credit_rules(self) -> CreditRules:
        """The rules for computing draws. The ledger's scale is the smallest that any table of the source declares."""
        credits, due = self.credits, self.settings.currency_scale
        scale = due if credits.scale is None else min(credits.scale, PLACES)
        return CreditRules(scale, due, self.settings.first_drawn, credits.counts_free_apart)

    @property
    def meters(self) -> tuple[Meter, ...]:
        """The meters of this run: configured, with their column, with a card on some day."""
        return self.pricing_terms.meters

    @property
    def not_comparable(self) -> frozenset[date]:
        """Months whose stored fingerprints include other columns than the present ones."""
        stored, months = self.month_records.fingerprint_definitions, self.window.months
        different = {month for month in months if stored.get(month) != self.fingerprint_definitions[month].text}
        return frozenset(different - self.new_months)

    @property
    def new_days(self) -> tuple[date, date] | None:
        """The first and the last day that no finished run has covered; None where there are none, or where all days are
        new."""
        if self.covered_to is None or self.covered_to >= self.window.last:
            return None
        return max(self.covered_to + timedelta(days=1), self.window.first), self.window.last

    def last_covered(self, month: date) -> date:
        """Returns the last day of ``month`` that this run covers and a finished run has covered.

        Before the first finished run: the last one that this run covers. For a month that no finished run has covered:
        the last covered day, which is before the month.
        """
        last = self.window.last_of(month)
        return last if self.covered_to is None else min(last, self.covered_to)

    def rates_hash(self, month: date, last: date | None = None) -> str:
        """Returns a hash of all that prices the days of ``month`` in this run (up to ``last``), without overrides."""
        digest = self.settings.rate_card.digest(
            (meter.name for meter in self.meters), month, last or self.window.last_of(month)
        )
        settings = self.settings
        most = format(settings.max_quantity.normalize(), "f")
        kinds = "".join(meter.kind[0] for meter in self.meters)
        scale = f"-{self.cost_rules.scale}" if self.cost_modes[month] == "rated" else ""
        return f"{digest}-{kinds}-{self.cost_modes[month]}-{settings.tiers}-{settings.zero_means}-{most}{scale}"

    def month_rates(self, month: date, last: date | None = None) -> str:
        """Returns what rollup.months stores of the prices of ``month`` (up to ``last``): ``rates_hash``, and a hash of
        each meter's prices."""
        card, last = self.settings.rate_card, last or self.window.last_of(month)
        return " ".join(
            [self.rates_hash(month, last), *(f"{m.name}:{card.digest([m.name], month, last)}" for m in self.meters)]
        )

    def find_repriced_meters(self, month: date) -> tuple[str, frozenset[str]]:
        """Returns the stored rates_hash of ``month``, and the meters whose prices of covered days have changed: all
        meters where there is no stored hash of each, or where a setting that prices every meter has changed."""
        before, *prices_before = (self.month_records.rates.get(month) or "-").split()
        now, *prices_now = self.month_rates(month, self.last_covered(month)).split()
        if not prices_before or before.partition("-")[2] != now.partition("-")[2]:
            return before, frozenset(meter.name for meter in self.settings.meters)
        return before, frozenset(price.partition(":")[0] for price in {*prices_before} ^ {*prices_now})

    @property
    def credit_terms(self) -> str:
        """All settings and database features that decide how usage is paid: a part of credits_hash."""
        return f"{self.credit_rules}-{'shown' if self.credits.writes_deducted else 'apart'}"

    @property
    def rated_months(self) -> frozenset[date]:
        """Every month in which runs write total_cost: closed ones, too, because their debts may be settled."""
        return self.cost_rules.rated | {month for month, mode in self.month_records.modes.items() if mode == "rated"}

    @property
    def writes_usage(self) -> bool:
        """Whether runs write any column of usage_daily."""
        return bool(self.cost_rules.rated) or self.credits.writes_deducted
