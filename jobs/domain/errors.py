"""Errors that end a command with an exit code. The class sets the exit code; the message is all that the user sees.

A message says what was expected, what was found, where, and what to do.
"""

import signal


class UsageJobsError(Exception):
    """The base class; ``exit_code`` is the exit code of the command."""

    exit_code = 1


class ConfigError(UsageJobsError):
    """Bad usage or configuration. The message names the file or option, the key, the value and the remedy."""

    exit_code = 2


class LockedError(UsageJobsError):
    """Another run holds the run lock, or has taken it over while this run was interrupted."""

    exit_code = 4


class PlanMismatchError(UsageJobsError):
    """The data has changed since the plan was approved: the backfill would now write other changes."""

    exit_code = 6


class DataChangedError(UsageJobsError):
    """Usage or prices have changed since the last run: a file would show other figures than the tables."""

    exit_code = 6


class PreflightError(UsageJobsError):
    """The run cannot begin: the database cannot be reached, lacks required tables or columns, or denies this role a
    required privilege; or one of the checks below refuses."""

    exit_code = 5


class RefusedError(UsageJobsError):
    """The database rejects a write to the application's tables, or to the ledger: a
    constraint, a trigger, a policy."""

    exit_code = 5


class ShrinkError(PreflightError):
    """The shrink check: too much usage has vanished; nothing is written without ``--allow-shrink``."""


class ChangeError(PreflightError):
    """The change check: too much of the covered days would change; nothing is written without ``--allow-change``."""


class UnreachableError(PreflightError):
    """No connection could be made, or the pooler gave none in time. A retry may succeed."""


class StartingError(UnreachableError):
    """The server is starting up or shutting down and accepts no connections yet."""


class StoppedError(BaseException):
    """A signal asked the process to end. It is not an Exception, so that no ``except Exception`` catches it."""

    def __init__(self, number: int) -> None:
        super().__init__(f"stopped by {'Ctrl-C' if number == signal.SIGINT else signal.Signals(number).name}")
        self.code = 128 + number
