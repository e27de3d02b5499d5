"""The files that `schedule` writes after a nightly run: report and exports, into a folder or to object storage.

Each file is complete or absent: in a folder it is replaced, and object storage gets one put.
"""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import date, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import IO

from jobs.domain.errors import ConfigError
from jobs.pipeline.output_files import replacing
from jobs.postgres.conninfo import Address
from jobs.settings import Settings

EXPORTS = ("user", "cluster")
"""What a row is in the exports (`export --by`)."""


def write_report_files(settings: Settings, address: Address, months: Sequence[date], now: datetime) -> list[str]:
    """Writes report-MONTH.html, user-MONTH.csv and cluster-MONTH.csv of each month to ``schedule.reports``.

    Returns the names of the files. Raises ConfigError where a library is missing or the place does not take files, and
    what the exports and the report raise; files that are complete by then stay.
    """
    from jobs.reports.export import export
    from jobs.reports.export_request import ExportRequest
    from jobs.reports.month_report import read_month_report
    from jobs.reports.report_page import render_report

    names, written = settings.schedule.report_names, []
    for month in months:
        for by in EXPORTS:
            written.append(f"{by}-{month:%Y-%m}.csv")
            request = ExportRequest(month, month, by, "csv", with_names=names)
            with _open(settings, written[-1]) as file:
                export(settings, address, request, file, lambda *_: None)
        written.append(f"report-{month:%Y-%m}.html")
        found = read_month_report(settings, address, month, names=names)
        with _open(settings, written[-1]) as file:
            file.write(render_report(found, now, settings.reports.template).encode())
    return written


def hide_login(place: str) -> str:
    """The address without its user and password."""
    return re.sub(r"(?<=://)[^/]*@", "***@", place)


@contextmanager
def _open(settings: Settings, name: str) -> Iterator[IO[bytes]]:
    """Yields a file that appears as ``name`` in ``schedule.reports`` at the end of the block, unless it fails."""
    place = settings.schedule.reports
    try:
        if "://" in place:
            with _putting(place, name) as file:
                yield file
        else:
            folder = Path(place)
            folder.mkdir(parents=True, exist_ok=True)
            with replacing(folder / name) as file:
                yield file
    except OSError as error:
        raise ConfigError(
            f"schedule.reports = {hide_login(place)!r}: expected a place that takes the file {name}; found: "
            f"{error.strerror or error}. Correct the setting, or the access to it; the next night writes the file again"
        ) from error


@contextmanager
def _putting(place: str, name: str) -> Iterator[IO[bytes]]:
    """Yields a local file that one put copies to ``name`` under the address ``place`` at the end of the block."""
    system, root = _find_file_system(place)
    with TemporaryDirectory() as folder:
        local = Path(folder) / name
        with local.open("wb") as file:
            yield file
        try:
            system.put_file(str(local), f"{root.rstrip('/')}/{name}")
        except Exception as error:  # each file system has its own errors
            raise OSError(f"{type(error).__name__}: {error}") from error


def _find_file_system(place: str):  # type: ignore[no-untyped-def]  # fsspec has no types
    """The file system of an address, and the path in it. Raises ConfigError where its library is missing."""
    try:
        import fsspec

        return fsspec.core.url_to_fs(place)
    except (ImportError, ValueError) as error:
        scheme = place.partition("://")[0]
        raise ConfigError(
            f"schedule.reports = {hide_login(place)!r}: expected an address whose file system fsspec knows and can "
            f"load; found: {error}. pip install 'usage-jobs[storage]' and the library of {scheme}, such as s3fs for s3"
        ) from None
