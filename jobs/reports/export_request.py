"""What `usage-jobs export` is asked for."""

from dataclasses import dataclass
from datetime import date
from pathlib import Path
from uuid import UUID


@dataclass(frozen=True, slots=True)
class ExportRequest:
    """Which rows go into a file, and in which form.

    - ``first``, ``last``: the first days of the first and the last month
    - ``by``: what a row is (jobs.postgres.export_kinds.BY); "" with ``format`` focus, which has rows of its own
    - ``format``: csv, parquet, xlsx, json, md or focus
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
