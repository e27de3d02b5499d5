"""What the benchmark prints: Markdown, to be pasted into a README."""

import os
import platform
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from statistics import median

PACKAGES = ("usage-jobs", "polars", "connectorx", "psycopg", "pandas", "SQLAlchemy", "duckdb")


@dataclass(slots=True)
class Line:
    """A contender in a case: wall seconds and peak MiB of each run, the rows of usage that it covers."""

    title: str
    rows: int
    seconds: list[float] = field(default_factory=list)
    mib: list[float] = field(default_factory=list)

    def add(self, seconds: float, mib: float) -> None:
        self.seconds.append(seconds)
        self.mib.append(mib)


def table(lines: Sequence[Line]) -> str:
    """One case; ratios are to its first line."""
    text = ["| contender | median s | (min-max) | × | peak MiB | rows/s |", "|---|--:|--:|--:|--:|--:|"]
    for line in lines:
        if line.seconds:
            middle = median(line.seconds)
            ratio = f"{middle / median(lines[0].seconds):.2f}" if lines[0].seconds else ""
            spread = f"({min(line.seconds):.2f}-{max(line.seconds):.2f})"
            figures = f"{middle:.2f} | {spread} | {ratio} | {max(line.mib):,.0f} | {line.rows / middle:,.0f}"
            text.append(f"| {line.title} | {figures} |")
    return "\n".join(text)


def machine(server: str) -> str:
    """Where this was measured, and with what."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    held = [f"PostgreSQL {server}", f"Python {platform.python_version()}", *_versions()]
    return f"{cores} cores ({_processor()}), {memory:.0f} GiB, {platform.system()}; {', '.join(held)}"


def _versions() -> list[str]:
    found = []
    for name in PACKAGES:
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            continue
    return found


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()
