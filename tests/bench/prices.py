"""The rate card for the peers: they take the prices from where usage-jobs takes them, and do their own sums.

A peer need know no more than one card a meter, and graduated prices of storage alone: anything else ends the benchmark.
"""

import csv
import os
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from math import lcm
from pathlib import Path

RATES = Path(__file__).parents[2] / "config" / "rates.csv"
FLOWS = ("cpu_hours", "gpu_hours", "feature_store_api_calls", "model_inference_calls")
ONE = 10**10
"""Units in 1: quantities and amounts are counted in units of 10^-10, as whole numbers."""


@dataclass(frozen=True, slots=True)
class Step:
    """From ``start`` units on, a total of x units costs (x × ``by`` − ``less``) ÷ ``Prices.per_storage``."""

    start: int
    by: int
    less: int


@dataclass(frozen=True, slots=True)
class Prices:
    """``flows``: a unit of each costs numerator ÷ denominator units. ``storage``: of a GB-month, lowest step first."""

    flows: dict[str, Fraction]
    storage: tuple[Step, ...]
    per_storage: int


def prices() -> Prices:
    """The prices in the file that USAGE_JOBS_RATES names, else in config/rates.csv."""
    lines: dict[str, list[tuple[Fraction, Fraction]]] = {}
    with Path(os.environ.get("USAGE_JOBS_RATES", RATES)).open(newline="") as file:
        for line in csv.DictReader(file):
            tier = (Fraction(line["tier_from"]), Fraction(line["price"]) / int(line["per"]))
            lines.setdefault(line["meter"], []).append(tier)
    for meter in FLOWS:
        if len(lines[meter]) != 1:
            raise SystemExit(f"{meter}: the peers know one price of it, not {len(lines[meter])}")
    tiers = lines["storage_gb"]
    if [start for start, _ in tiers] != sorted({start for start, _ in tiers}) or tiers[0][0] != 0:
        raise SystemExit("storage_gb: the peers know one card of it, its tiers from 0 upwards")
    per = lcm(*(price.denominator for _, price in tiers))
    return Prices({meter: lines[meter][0][1] for meter in FLOWS}, tuple(_steps(tiers, per)), per)


def _steps(tiers: list[tuple[Fraction, Fraction]], per: int) -> Iterator[Step]:
    less = Fraction(0)
    for (_, before), (start, price) in pairwise([(Fraction(0), Fraction(0)), *tiers]):
        less += start * (price - before)
        yield Step(int(start * ONE), int(price * per), int(less * per * ONE))


def flow_sql(price: Fraction, quantity: str, divide: str) -> str:
    """The cost of ``quantity`` units of a flow, in SQL of whole numbers. Exact where the price divides them, as it does
    for hundredths of an hour and whole calls. ``divide``: the operator that leaves whole numbers whole."""
    divided = "" if price.denominator == 1 else f" {divide} {price.denominator}"
    times = "" if price.numerator == 1 else f" * {price.numerator}"
    return f"({quantity}{times}{divided})"


def storage_sql(steps: tuple[Step, ...], total: str) -> str:
    """What a total of so many units of storage costs a month, times ``per_storage``, in SQL of whole numbers."""
    branches = [
        f"WHEN {total} <= {after.start} THEN {total} * {step.by} - {step.less}" for step, after in pairwise(steps)
    ]
    return f"(CASE {' '.join(branches)} ELSE {total} * {steps[-1].by} - {steps[-1].less} END)"
