"""The command line: exit codes and signals; what each command does stands in ``commands``.

Standard output carries the result (with --json one object), standard error everything else.
"""

import codecs
import json
import os
import pwd
import signal
import socket
import sys
import time
import traceback
from datetime import UTC, datetime
from io import TextIOWrapper
from pathlib import Path
from types import FrameType
from typing import NoReturn

from jobs.cli.arguments import build_parser
from jobs.cli.commands import COMMANDS, Call
from jobs.domain.errors import StoppedError, UsageJobsError


def main(argv: list[str] | None = None) -> int:
    """Runs one command and returns its exit code (DESIGN section 6)."""
    words = sys.argv[1:] if argv is None else argv
    _take_any_encoding()
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _terminated)
    # Chunks go side by side already. Within one more threads mostly wait for each other: on two cores a run with two
    # threads of polars took a third more of the processor, and longer, than with one.
    os.environ.setdefault("POLARS_MAX_THREADS", str(max(1, (os.cpu_count() or 2) // 2)))
    try:
        arguments = build_parser().parse_args(words)
        _logging()
        code = COMMANDS[arguments.command](Call(arguments, SystemClock(), _scrubbed, _who()))
        sys.stdout.flush()
    except UsageJobsError as error:
        return _failed(words, str(error), error.exit_code)
    except (KeyboardInterrupt, StoppedError) as stop:
        stopped = stop if isinstance(stop, StoppedError) else StoppedError(signal.SIGINT)
        return _failed(words, f"{stopped}; nothing half-written is left behind: run again", stopped.code)
    except BrokenPipeError:
        # The reader of our output went away (`| head`): nobody is left to tell.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as error:
        return _failed(words, f"{error.filename or 'standard output'}: {error.strerror}", 1)
    except Exception as error:
        return _failed(words, f"unexpected failure\n{_traceback(error)}", 1)
    return code


def _take_any_encoding() -> None:
    """What the terminal's encoding does not have is written as JSON writes it, so that --json stays JSON."""
    codecs.register_error("as_json", _escaped)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="as_json")


def _escaped(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return json.dumps(error.object[error.start : error.end])[1:-1], error.end


def _terminated(number: int, _frame: FrameType | None) -> NoReturn:
    # As an exception it unwinds: the transaction rolls back, and the run log says failed instead of running.
    raise StoppedError(number)


def _failed(words: list[str], message: str, code: int) -> int:
    print(f"usage-jobs: {message}", file=sys.stderr)
    if "--json" in words:
        from jobs.cli.output import to_json

        print(to_json({"error": message, "exit_code": code}))
    return code


def _traceback(error: Exception) -> str:
    """The traceback without the password that an address in it may hold."""
    return _scrubbed("".join(traceback.format_exception(error)))


def _scrubbed(text: str) -> str:
    from jobs.settings import passwords

    for secret in passwords(os.environ, Path.cwd()):
        text = text.replace(secret, "***")
    return text


def _logging() -> None:
    from jobs.service import log

    log.configure()


def _who() -> str:
    """Who calls, and where: for the run log."""
    try:
        user = pwd.getpwuid(os.getuid()).pw_name
    except KeyError:  # a container's user need not have a name
        user = str(os.getuid())
    return f"{user}@{socket.gethostname()}"


class SystemClock:
    """Time as it is."""

    def now(self) -> datetime:
        return datetime.now(UTC)

    def wait(self, seconds: float) -> None:
        time.sleep(seconds)
