"""Meters: billable quantities, each a name mapped to a column of usage_daily."""

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


DEFAULTS: dict[str, Meter] = {
    meter.name: meter
    for meter in (
        Meter("cpu_hours", "cpu_hours", "flow", "h", False, ("cpu_hours",)),
        Meter("gpu_hours", "gpu_hours", "flow", "h", False, ("gpu_hours",)),
        Meter("storage_gb", "storage_gb", "level", "GB", False, ("storage_gb",)),
        Meter(
            "feature_store_api_calls",
            "feature_store_api_calls",
            "flow",
            "calls",
            False,
            ("feature_store_api_calls", "api_calls"),
        ),
        Meter(
            "model_inference_calls",
            "model_inference_calls",
            "flow",
            "calls",
            False,
            ("model_inference_calls", "api_calls"),
        ),
        Meter("instance_hours", "instance_hours", "flow", "h", True, ("instance_hours",)),
        Meter("memory_gb_hours", "memory_gb_hours", "flow", "GB h", True, ("memory_gb_hours",)),
    )
}


def cost_of(meter: str) -> str:
    """The name of the column with the cost of ``meter``."""
    return f"{meter}_cost"


def days_of(meter: str) -> str:
    """The name of the column with the sum of a level over the days of a month."""
    return f"{meter}_days"
