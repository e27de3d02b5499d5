"""The day that the database server's clock shows, as the job asks for it."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date

import pytest

from jobs.store import clock


@contextmanager
def server_day(day: date) -> Iterator[None]:
    """Until it ends the job, in this process, takes ``day`` for the server's."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(clock, "today", lambda _: day)
        yield
