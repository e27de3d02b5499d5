"""Meters: billable quantities, each a name that people know mapped to the column that holds it."""

from dataclasses import dataclass
from typing import Literal

Kind = Literal["flow", "level"]


@dataclass(frozen=True, slots=True)
class Meter:
    """One billable quantity of a usage row (DESIGN section 2).

    ``kind``: a flow is summed (hours, calls); a level is a stock (GB held), priced per month and charged per
    day. ``resource_types``: the values of user_pricing_overrides.resource_type that override this meter.
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
    """The column that holds what ``meter`` costs."""
    return f"{meter}_cost"


def days_of(meter: str) -> str:
    """The column that holds the sum of a level over the days of a month."""
    return f"{meter}_days"
