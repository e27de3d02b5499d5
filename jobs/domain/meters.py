"""Meters: billable quantities, each a name mapped to a column of usage_daily."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

Kind = Literal["flow", "level"]


@dataclass(frozen=True, slots=True)
class Meter:
    """One billable quantity of a usage row.

    ``kind``: a flow is summed (hours, calls); a level is a stock (GB stored), priced per month and charged per day.
    ``optional``: the meter is left out where usage_daily lacks its column. ``resource_types``: the values of
    user_pricing_overrides.resource_type that override the price of this meter.
    """

    name: str
    column: str
    kind: Kind
    unit: str
    optional: bool
    resource_types: tuple[str, ...]

    @property
    def is_level(self) -> bool:
        return self.kind == "level"


def _default(name: str, unit: str, kind: Kind = "flow", *, optional: bool = False, also: tuple[str, ...] = ()) -> Meter:
    """A meter with the name of its column and of its resource type; ``also``: other resource types."""
    return Meter(name, name, kind, unit, optional, (name, *also))


DEFAULTS: dict[str, Meter] = {
    meter.name: meter
    for meter in (
        _default("cpu_hours", "h"),
        _default("gpu_hours", "h"),
        _default("storage_gb", "GB", "level"),
        _default("feature_store_api_calls", "calls", also=("api_calls",)),
        _default("model_inference_calls", "calls", also=("api_calls",)),
        _default("instance_hours", "h", optional=True),
        _default("memory_gb_hours", "GB h", optional=True),
    )
}


def cost_of(meter: str) -> str:
    """The name of the column with the cost of ``meter``."""
    return f"{meter}_cost"


def days_of(meter: str) -> str:
    """The name of the column with the sum of a level over the days of a month."""
    return f"{meter}_days"


def additive_columns(meters: Sequence[Meter]) -> list[str]:
    """Returns the additive columns of every roll-up: each meter and its cost, adjustment_cost, total_cost."""
    pairs = [name for meter in meters for name in (meter.name, cost_of(meter.name))]
    return [*pairs, "adjustment_cost", "total_cost"]
