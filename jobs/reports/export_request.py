"""What `usage-jobs export` is asked for, and which of its options go together."""

import sys
from dataclasses import dataclass
from datetime import date
from importlib.util import find_spec
from pathlib import Path
from uuid import UUID

from jobs.domain.errors import ConfigError

BY = ("user", "cluster", "user,cluster", "day", "user,day", "correction", "draw")
"""What one row of an export is."""
FORMATS = ("csv", "parquet", "xlsx", "json", "md", "focus")
BINARY = {"parquet": "Parquet", "xlsx": "XLSX"}
NO_USERS = {"cluster": "user,cluster"}
"""Exports that cannot be limited to users: their rows are sums over all users. And what to ask for instead."""
NO_CLUSTERS = {"user": "user,cluster", "correction": "user,cluster", "draw": "user,cluster"}
"""Exports that cannot be limited to clusters: their rows are sums over all clusters, or have none."""


@dataclass(frozen=True, slots=True)
class ExportRequest:
    """Which rows go into a file, and in which form.

    - ``first``, ``last``: the first days of the first and the last month
    - ``by``: one of BY; "" with ``format`` focus, which has rows of its own
    - ``format``: one of FORMATS
    - ``out``: the file; None: standard output
    - ``users``, ``clusters``: only these (None: all; a cluster of None: usage without a cluster)
    - ``with_names``: whether names and e-mail addresses are read
    """

    first: date
    last: date
    by: str
    format: str
    out: Path | None = None
    users: frozenset[str] | None = None
    clusters: frozenset[UUID | None] | None = None
    with_names: bool = True


def describe_open_month(month: date, last: date) -> str:
    """The note on a month that is open, with its last covered day."""
    return f"{month:%Y-%m} is open: its figures are those up to {last}, and may change"


def choose_format(name: str | None, out: Path | None) -> str:
    """Returns the format ``name``, else that of the suffix of ``out``, else csv. Raises ConfigError for another
    suffix."""
    if name is not None or out is None:
        return name or "csv"
    suffix = out.suffix.lower().removeprefix(".")
    if suffix not in FORMATS[:-1]:
        raise ConfigError(
            f"--out {out}: expected a name that ends with {', '.join(f'.{each}' for each in FORMATS[:-1])}, or "
            f"--format with it; found {out.suffix or 'no suffix'}"
        )
    return suffix


def check_request(request: ExportRequest) -> None:
    """Raises ConfigError for options that do not go together, and for a format whose library is not installed."""
    if request.last < request.first:
        raise ConfigError(f"--to {request.last:%Y-%m}: expected a month on or after --month {request.first:%Y-%m}")
    if request.format == "focus" and request.by:
        raise ConfigError("--by: expected none with --format focus, whose rows FOCUS defines; leave it out")
    for option, ids, instead in (("user", request.users, NO_USERS), ("cluster", request.clusters, NO_CLUSTERS)):
        if ids is not None and request.by in instead:
            raise ConfigError(
                f"--{option}: expected none with --by {request.by}, whose figures are not kept by {option}. Give "
                f"--by {instead[request.by]}"
            )
    if request.format in BINARY and request.out is None:
        where = "a terminal" if sys.stdout.isatty() else "standard output"
        raise ConfigError(
            f"--format {request.format}: expected --out FILE; {BINARY[request.format]} is no text for {where}"
        )
    if request.format == "xlsx" and find_spec("xlsxwriter") is None:
        raise ConfigError("--format xlsx: expected xlsxwriter; it is not installed: pip install 'usage-jobs[reports]'")
