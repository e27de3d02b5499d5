"""The targets: ratios between contenders, peak memory, bytes over the wire; each is met or missed."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import inf

from bench.table import Line

PEAK_MIB = 512
JOB = "usage-jobs"


@dataclass(frozen=True, slots=True)
class Target:
    """The median seconds (or the bytes over the wire) of ``over`` divided by those of ``under``, and its bounds.

    Both are a case and the key of a contender, such as "unchanged e".
    """

    over: str
    under: str
    least: float = 0
    most: float = inf
    bytes: bool = False


TARGETS: Mapping[str, tuple[Target, ...]] = {
    "first": (Target("first b", "first a", least=1.5), Target("first d", "first a", least=15)),
    "unchanged": (
        Target("unchanged e", "unchanged a", least=1.6),
        Target("unchanged b", "unchanged a", least=5),
        Target("unchanged a", "unchanged f2", most=1.7),
        Target("unchanged a", "unchanged f2", most=0.01, bytes=True),
    ),
    "late": (
        Target("late a", "unchanged a", most=1.2),
        Target("unchanged e", "late a", least=1.6),
        Target("late b", "late a", least=5),
        Target("late a", "unchanged f2", most=1.7),
        Target("late a", "unchanged f2", most=0.01, bytes=True),
    ),
    "night": (
        Target("night b", "night a", least=3),
        Target("night b-old", "night a-old", least=3),
        Target("night a-old", "night a", most=1.1),
    ),
}
"""By case. "f2": the floor over two connections, "-old": with the longest history."""


def verdicts(case: str, lines: Mapping[str, Line]) -> Iterator[str]:
    """A sentence for each target of a case of which both sides have been measured, and one for the peak memory.

    ``lines`` by case and key, those of earlier cases too.
    """
    for target in TARGETS.get(case, ()):
        over, under = (_figure(lines.get(name), target) for name in (target.over, target.under))
        if over and under:
            yield _verdict(target, over / under)
    peaks = [mib for name, line in lines.items() if name.startswith(f"{case} a") for mib in line.mib]
    if peaks:
        yield f"peak of {JOB}: {max(peaks):,.0f} MiB (≤ {PEAK_MIB}: {_met(max(peaks) <= PEAK_MIB)})"


def _figure(line: Line | None, target: Target) -> float | None:
    if line is None:
        return None
    return line.bytes if target.bytes else line.middle


def _verdict(target: Target, ratio: float) -> str:
    what = f"{'bytes' if target.bytes else 'seconds'}, {target.over} ÷ {target.under}: "
    bound = f"≥ {target.least:g}" if target.least else f"≤ {target.most:g}"
    return f"{what}{ratio:.3g} ({bound}: {_met(target.least <= ratio <= target.most)})"


def _met(is_met: bool) -> str:
    return "met" if is_met else "missed"
