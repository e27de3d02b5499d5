"""Statements as HTML pages and as PDF files, with the logo of the operator."""

import os
from base64 import b64encode
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from contextlib import AbstractContextManager
from multiprocessing import get_context
from pathlib import Path
from types import TracebackType
from typing import Any

from jobs.domain.errors import ConfigError
from jobs.pipeline.output_files import replace_private
from jobs.reports import pages
from jobs.reports.statement import Statement

INLINE = {"html": 40, "pdf": 1}
"""So many pages are made before further processes are started, which takes a second."""
QUEUED = 16
"""Pages that wait for a process, at most, times the processes."""
MOST_BYTES = 200_000
"""A page with the logo, which base64 makes a third larger, stays below 500 kB."""
SIGNATURES = {"image/png": b"\x89PNG\r\n\x1a\n", "image/jpeg": b"\xff\xd8\xff"}


def require_libraries(format_: str) -> None:
    """Raises ConfigError if the libraries for pages of this format are not installed."""
    pages.require_libraries()
    if format_ == "pdf":
        try:
            import weasyprint  # noqa: F401
        except (ImportError, OSError) as error:  # OSError: the package is there, and Pango is not
            raise ConfigError(
                f"--format pdf: expected WeasyPrint and the library Pango; found: {str(error).splitlines()[0]}. "
                "Install them: pip install 'usage-jobs[pdf]', and the Pango of your system (Debian: "
                "libpango-1.0-0 libpangoft2-1.0-0)"
            ) from None


def render_page(statement: Statement, folder: Path | None, format_: str) -> bytes:
    """Returns the page of a statement.

    - ``folder``: templates that replace those of the package
    - ``format_``: html or pdf

    Raises ConfigError for a template that is wrong, naming file and line.
    """
    from jobs.reports.charts import draw_days

    points = [(line.day, line.amount.exact) for line in statement.days]
    chart = draw_days(points, "Cost by day", statement.currency) if any(cost for _, cost in points) else ""
    html = pages.render("statement.html", {"statement": statement, "chart": chart}, folder)
    return html.encode() if format_ == "html" else _to_pdf(html)


def _to_pdf(html: str) -> bytes:
    import weasyprint

    document: bytes = weasyprint.HTML(string=html, url_fetcher=_fetch_embedded).write_pdf()
    return document


def _fetch_embedded(url: str, *arguments: Any, **options: Any) -> Any:
    """Reads data that is part of the page. Raises ValueError for any other address: a page needs no other file."""
    import weasyprint

    if not url.startswith("data:"):
        raise ValueError(f"{url[:100]}: a statement loads nothing from elsewhere")
    return weasyprint.default_url_fetcher(url, *arguments, **options)


def write_page(statement: Statement, folder: Path | None, format_: str, file: Path) -> None:
    """Replaces ``file`` by the page of a statement; only its owner may read it. Raises OSError, ConfigError."""
    replace_private(file, render_page(statement, folder, format_))


class PageWriter(AbstractContextManager["PageWriter"]):
    """Writes many pages: the first ones here, further ones in ``workers`` processes side by side."""

    def __init__(self, folder: Path | None, format_: str, workers: int) -> None:
        self._same = (folder, format_)
        self._workers = workers
        self._inline = INLINE[format_] if workers > 1 else None
        self._pool: ProcessPoolExecutor | None = None
        self._waiting: set[Future[None]] = set()
        self._written = 0

    def write(self, statement: Statement, file: Path, while_waiting: Callable[[], object]) -> None:
        """Writes a page, now or soon. ``while_waiting``: called before each wait for a process.

        Raises ConfigError or OSError of this page, or of an earlier one.
        """
        self._written += 1
        if self._inline is None or self._written <= self._inline:
            write_page(statement, *self._same, file)
            return
        if self._pool is None:
            # Not fork: polars has threads, and a lock that one of them holds would be held for ever in the copy.
            self._pool = ProcessPoolExecutor(self._workers, get_context("spawn"), initializer=_leave_signals_to_parent)
        self._waiting.add(self._pool.submit(write_page, statement, *self._same, file))
        if len(self._waiting) > QUEUED * self._workers:
            while_waiting()
            self._collect(wait(self._waiting, return_when=FIRST_COMPLETED).done)

    def _collect(self, done: set[Future[None]]) -> None:
        self._waiting -= done
        for future in done:
            future.result()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._pool is None:
            return
        try:
            if error is None:
                self._collect(wait(self._waiting).done)
        finally:
            self._pool.shutdown(cancel_futures=True)


def _leave_signals_to_parent() -> None:
    import signal

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.environ["POLARS_MAX_THREADS"] = "1"


def read_logo(file: Path | None) -> str:
    """Returns the SVG, PNG or JPEG ``file`` as a data URI, so that a page needs no other file; empty for None.

    Raises ConfigError for a file that cannot be read, is none of these, or has over MOST_BYTES.
    """
    if file is None:
        return ""
    expected = f"reports.logo = {file}: expected an SVG, PNG or JPEG file of at most {MOST_BYTES:,} bytes"
    try:
        content = file.read_bytes()
    except OSError as error:
        raise ConfigError(f"{expected}; found: {error.strerror}. Correct the path, or take it out") from None
    if len(content) > MOST_BYTES:
        raise ConfigError(f"{expected}; found {len(content):,} bytes. Make it smaller")
    if (kind := _find_type(content)) is None:
        raise ConfigError(f"{expected}; found a file that begins with {content[:12]!r}. Give another file")
    return f"data:{kind};base64,{b64encode(content).decode()}"


def _find_type(content: bytes) -> str | None:
    for kind, signature in SIGNATURES.items():
        if content.startswith(signature):
            return kind
    start = content[:4096].lstrip(b"\xef\xbb\xbf \r\n\t")
    return "image/svg+xml" if start.startswith(b"<") and b"<svg" in start else None
