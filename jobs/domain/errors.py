"""Every error that a user can cause: what was expected, what was found, where, and what to do.

The class decides the exit code (DESIGN section 6); the message is all that the user sees.
"""

import signal


class UsageJobsError(Exception):
    """An error whose message explains itself; ``exit_code`` is what the command ends with."""

    exit_code = 1


class ConfigError(UsageJobsError):
    """Bad usage or configuration: names the file or option, the key, the value and the remedy."""

    exit_code = 2


class LockedError(UsageJobsError):
    """Another run holds the lock, or took over while this one was held up."""

    exit_code = 4


class PlanMismatchError(UsageJobsError):
    """The data is no longer what was approved: more, or something else, would change."""

    exit_code = 6


class PreflightError(UsageJobsError):
    """The database cannot be reached, has another shape, or does not let this role do the work."""

    exit_code = 5


class RefusedError(PreflightError):
    """The application's tables refuse what is to be written: a constraint, a trigger, a policy."""


class ShrinkError(PreflightError):
    """Invariant 8: so much usage has vanished that nothing is written without ``--allow-shrink``."""


class ChangeError(PreflightError):
    """Invariant 8: so much of what is covered would change that nothing is written without ``--allow-change``."""


class UnreachableError(PreflightError):
    """No connection could be had, or the pool gave none in time: another try may succeed."""


class StartingError(UnreachableError):
    """The server answered that it starts or stops, and takes nobody yet."""


class StoppedError(BaseException):
    """A signal asked the process to end; no Exception, so that nothing on the way takes it for a failure."""

    def __init__(self, number: int) -> None:
        super().__init__(f"stopped by {'Ctrl-C' if number == signal.SIGINT else signal.Signals(number).name}")
        self.code = 128 + number
