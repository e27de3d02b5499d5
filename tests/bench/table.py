"""What the benchmark prints: Markdown, to be pasted into a README."""

import os
import platform
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from statistics import median

PACKAGES = ("usage-jobs", "polars", "connectorx", "psycopg", "pandas", "SQLAlchemy", "duckdb")
HEAD = ("contender", "median s", "(min-max)", "×", "peak MiB", "rows/s", "MB to client", "MB to server")


@dataclass(slots=True)
class Line:
    """A contender in a case.

    - ``rows``: the rows of usage that it covers
    - ``seconds``, ``mib``: wall seconds and peak MiB of each timed run
    - ``to_client``, ``to_server``: bytes over the wire in one run that was not timed; None: not counted
    """

    title: str
    rows: int
    seconds: list[float] = field(default_factory=list)
    mib: list[float] = field(default_factory=list)
    to_client: float | None = None
    to_server: float | None = None

    def add(self, seconds: float, mib: float) -> None:
        """Adds a timed run."""
        self.seconds.append(seconds)
        self.mib.append(mib)

    @property
    def middle(self) -> float | None:
        """The median of the seconds."""
        return median(self.seconds) if self.seconds else None

    @property
    def bytes(self) -> float | None:
        """Bytes over the wire in both directions."""
        return None if self.to_client is None or self.to_server is None else self.to_client + self.to_server


def table(lines: Sequence[Line]) -> str:
    """One case; ratios are to its first line."""
    measured = [line for line in lines if line.seconds]
    rows = [HEAD, ("---", *["--:"] * (len(HEAD) - 1)), *(_cells(line, measured[0]) for line in measured)]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _cells(line: Line, reference: Line) -> tuple[str, ...]:
    middle = median(line.seconds)
    spread = f"({min(line.seconds):.2f}-{max(line.seconds):.2f})"
    ratio = f"{middle / median(reference.seconds):.2f}"
    wire = (_megabytes(line.to_client), _megabytes(line.to_server))
    return line.title, f"{middle:.2f}", spread, ratio, f"{max(line.mib):,.0f}", f"{line.rows / middle:,.0f}", *wire


def _megabytes(count: float | None) -> str:
    return "" if count is None else f"{count / 1e6:,.2f}"


def machine(server: str) -> str:
    """Where this was measured, and with what."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    software = [f"PostgreSQL {server}", f"Python {platform.python_version()}", *_versions()]
    return f"{cores} cores ({_processor()}), {memory:.0f} GiB, {platform.system()}; {', '.join(software)}"


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
