"""Runs of the job on a database under the variables that a test gives, in this process."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path

from commands import explicit
from server_day import server_day
from ways import job_url, owner_url

from jobs.audit.reconcile import reconcile
from jobs.domain.run_report import Report
from jobs.pipeline.run import run_job
from jobs.pipeline.run_request import RunRequest
from jobs.postgres.conninfo import Address
from jobs.postgres.schema_script import apply_schema
from jobs.settings import Settings, load


@dataclass(frozen=True)
class Runs:
    """``values``: the USAGE_JOBS_… variables that every run of this test is given."""

    values: Mapping[str, str]

    def settings(self) -> Settings:
        return load(None, self.values, Path(__file__).parent)

    def prepare(self, url: str) -> None:
        """Makes the job's own tables."""
        apply_schema(self.settings(), Address(owner_url(url)))

    def address(self, url: str) -> str:
        """Where the job connects instead of ``url`` on the way that is tested."""
        return job_url(url, self.settings)

    def run(self, url: str, day: date, *, full: bool = False, directly: bool = False) -> Report:
        """The report of a run that is started on the morning after ``day``.

        ``directly``: ``url`` is already the address that the job is to be given.
        """
        address = url if directly else self.address(url)
        settings = explicit(self.settings(), url, day)
        with server_day(day + timedelta(days=1)):
            return run_job(RunRequest(settings, Address(address), day=day, full=full))

    def broken(self, url: str, day: date) -> list[str]:
        """Each invariant that `reconcile` finds broken, with the first keys that break it."""
        settings = explicit(self.settings(), url, day)
        with server_day(day + timedelta(days=1)):
            found = reconcile(settings, Address(self.address(url)), None, None)
        return [f"{each.title}: {each.left} and {each.right}, {each.broken_keys}" for each in found if each.broken]
