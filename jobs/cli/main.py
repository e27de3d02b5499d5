"""The entry point of the command line: exit codes and signals. ``arguments`` lists the commands.

The result goes to standard output (with --json one JSON object), everything else to standard error.
"""

import codecs
import json
import os
import pwd
import signal
import socket
import sys
import traceback
from contextlib import ExitStack
from datetime import UTC, datetime
from io import TextIOWrapper
from pathlib import Path
from types import FrameType
from typing import NoReturn

from jobs.cli.arguments import build_parser
from jobs.cli.command import Call
from jobs.cli.output import print_result, to_json
from jobs.domain.errors import StoppedError, UsageJobsError


def main(argv: list[str] | None = None) -> int:
    """Runs one command and returns its exit code."""
    words = sys.argv[1:] if argv is None else argv
    _escape_unencodable_output()
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _terminated)
    # Batches already run in parallel, and more polars threads within a batch mostly wait for each other: on two cores,
    # a run with two polars threads took longer than with one, and a third more CPU time.
    os.environ.setdefault("POLARS_MAX_THREADS", str(max(1, (os.cpu_count() or 2) // 2)))
    try:
        arguments = build_parser().parse_args(words)
        # Slow to import; --help ends above.
        from jobs.service import log

        log.configure()
        with ExitStack() as ends:
            result = arguments.command.run(Call(arguments, _now, _scrub, _who(), ends))
        if result is not None:
            print_result(result, as_json=arguments.json)
        sys.stdout.flush()
    except UsageJobsError as error:
        return _report_failure(words, str(error), error.exit_code)
    except (KeyboardInterrupt, StoppedError) as stop:
        stopped = stop if isinstance(stop, StoppedError) else StoppedError(signal.SIGINT)
        return _report_failure(words, f"{stopped}; nothing half-written is left behind: run again", stopped.code)
    except BrokenPipeError:
        # The reader of standard output has ended (`| head`). Redirect it, so that the flush at exit does not fail.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as error:
        return _report_failure(words, f"{error.filename or 'standard output'}: {error.strerror}", 1)
    except Exception as error:
        text = _scrub("".join(traceback.format_exception(error)))
        return _report_failure(words, f"unexpected failure\n{text}", 1)
    return 0 if result is None else result.code


def _escape_unencodable_output() -> None:
    """Writes characters that the terminal's encoding lacks as JSON escapes, so that the output of --json stays JSON."""
    codecs.register_error("as_json", _escaped)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="as_json")


def _escaped(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return json.dumps(error.object[error.start : error.end])[1:-1], error.end


def _terminated(number: int, _frame: FrameType | None) -> NoReturn:
    # An exception unwinds the stack: the transaction rolls back, and the run log says failed instead of running.
    raise StoppedError(number)


def _report_failure(words: list[str], message: str, code: int) -> int:
    """Prints the message, with --json also as an object, and returns ``code``.

    The message is not wrapped: commands and options in it are copied, and logs are searched by line.
    """
    print(f"usage-jobs: {message}", file=sys.stderr)
    if "--json" in words:
        print(to_json({"error": message, "exit_code": code}))
    return code


def _scrub(text: str) -> str:
    """``text`` with every known password replaced by ***."""
    from jobs.settings import passwords

    for secret in passwords(os.environ, Path.cwd()):
        text = text.replace(secret, "***")
    return text


def _who() -> str:
    """The calling user and the host, for the run log."""
    try:
        user = pwd.getpwuid(os.getuid()).pw_name
    except KeyError:  # in a container the user may have no name
        user = str(os.getuid())
    return f"{user}@{socket.gethostname()}"


def _now() -> datetime:
    return datetime.now(UTC)
