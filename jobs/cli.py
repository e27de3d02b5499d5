"""The commands: arguments, exit codes, the clock. No SQL and no polars here; heavy modules load where they are used.

Standard output carries the result (with --json one object), standard error everything else.
"""

import argparse
import os
import signal
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, NoReturn

from jobs.model.errors import ConfigError, UsageJobsError

if TYPE_CHECKING:
    from jobs.settings import Settings
    from jobs.store.database import Address

INTERRUPTED = 130
"""What a shell expects of a command that Ctrl-C ended; SIGTERM gives 143, SIGHUP 129."""
EARLIEST, LATEST = date(1970, 1, 1), date(9000, 12, 31)
MOST = 10**9


class StoppedError(BaseException):
    """A signal asked the process to end; no Exception, so that nothing on the way takes it for a failure."""

    def __init__(self, number: int) -> None:
        super().__init__(f"stopped by {signal.Signals(number).name}")
        self.code = 128 + number


def main(argv: list[str] | None = None) -> int:
    """Runs one command and returns its exit code (DESIGN section 6)."""
    words = sys.argv[1:] if argv is None else argv
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _terminated)
    try:
        arguments = parser().parse_args(words)
        code: int = arguments.command(arguments)
        sys.stdout.flush()
    except UsageJobsError as error:
        return _failed(words, str(error), error.exit_code)
    except (KeyboardInterrupt, StoppedError) as stop:
        code = stop.code if isinstance(stop, StoppedError) else INTERRUPTED
        return _failed(words, f"{stop or 'interrupted'}; nothing half-written is left behind: run again", code)
    except BrokenPipeError:
        # The reader of our output went away (`| head`): nobody is left to tell.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as error:
        return _failed(words, f"{error.filename or 'standard output'}: {error.strerror}", 1)
    except Exception as error:
        return _failed(words, f"unexpected failure\n{_traceback(error)}", 1)
    return code


def _terminated(number: int, _frame: FrameType | None) -> NoReturn:
    # As an exception it unwinds: the transaction rolls back, and the run log says failed instead of running.
    raise StoppedError(number)


def _failed(words: list[str], message: str, code: int) -> int:
    print(f"usage-jobs: {message}", file=sys.stderr)
    if "--json" in words:
        from jobs.show import as_object

        print(as_object({"error": message, "exit_code": code}))
    return code


def _traceback(error: Exception) -> str:
    """The traceback without the password that an address in it may hold."""
    from jobs.settings import secrets

    text = "".join(traceback.format_exception(error))
    for secret in secrets(os.environ, Path.cwd()):
        text = text.replace(secret, "***")
    return text


def parser() -> argparse.ArgumentParser:
    """Every command and option, each with an example."""
    top = _Parser(prog="usage-jobs", description="Prices usage_daily and rolls the cost up, exactly, and again.")
    top.add_argument("--version", action="version", version=_version())
    commands = top.add_subparsers(required=True, metavar="COMMAND")
    demo = _command(commands, "demo", _demo, "try it on an embedded PostgreSQL with sample usage", "usage-jobs demo")
    demo.add_argument("--users", type=_count, default=200, metavar="N", help="users to make up (default: 200)")
    demo.add_argument("--days", type=_count, default=45, metavar="N", help="days of usage, to yesterday (default: 45)")
    demo.add_argument("--dir", type=Path, default=Path("usage-jobs-demo"), metavar="PATH", help="its data directory")
    _command(commands, "check", _check, "can the job do its work here? changes nothing", "usage-jobs check")
    schema = _command(commands, "schema", _schema, "print the DDL of the job's own tables", "usage-jobs schema --apply")
    schema.add_argument("--apply", action="store_true", help="run it; safe to repeat")
    run = _command(commands, "run", _run, "the nightly job: every open month to yesterday", "usage-jobs run --dry-run")
    run.add_argument("--date", type=_day, metavar="D", help="the last day to cover (default: yesterday, UTC)")
    run.add_argument("--dry-run", action="store_true", help="compute and compare; write nothing")
    run.add_argument("--allow-shrink", action="store_true", help="go on although much usage has vanished")
    example = "usage-jobs explain --user 'auth0|66a0' --month 2026-06"
    explain = _command(commands, "explain", _explain, "how one user's month adds up, row by row", example)
    explain.add_argument("--user", required=True, metavar="ID", help="the user's id")
    explain.add_argument("--month", required=True, type=_month, metavar="YYYY-MM", help="the month")
    runs = _command(commands, "runs", _runs, "the run log, newest first", "usage-jobs runs --limit 5")
    runs.add_argument("--limit", type=_count, default=20, metavar="N", help="how many (default: 20)")
    return top


class _Parser(argparse.ArgumentParser):
    """Bad usage is exit 2 like every other mistake of configuration, and names the remedy."""

    def error(self, message: str) -> NoReturn:
        raise ConfigError(f"{message}. See: {self.prog} --help")


def _command(commands: Any, name: str, does: Any, text: str, example: str) -> argparse.ArgumentParser:
    command: argparse.ArgumentParser = commands.add_parser(
        name, help=text, description=f"{text[:1].upper()}{text[1:]}.", epilog=f"Example: {example}"
    )
    command.add_argument("--config", type=Path, metavar="PATH", help="settings file (default: config/settings.toml)")
    command.add_argument("--json", action="store_true", help="one JSON object on standard output")
    command.set_defaults(command=does)
    return command


def _day(text: str) -> date:
    try:
        day = date.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a day; expected one such as 2026-01-31") from None
    return _sensible(day)


def _sensible(day: date) -> date:
    if not EARLIEST <= day <= LATEST:
        raise argparse.ArgumentTypeError(f"{day} is out of range; expected a day from {EARLIEST} to {LATEST}")
    return day


def _month(text: str) -> date:
    try:
        month = date.fromisoformat(f"{text}-01")
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a month; expected one such as 2026-01") from None
    return _sensible(month)


def _count(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text[:20]) <= MOST:
        raise argparse.ArgumentTypeError(f"{text!r} is not a count; expected a whole number from 1 to {MOST}")
    return int(text)


def _version() -> str:
    from importlib.metadata import version

    return f"usage-jobs {version('usage-jobs')}"


def _today() -> date:
    """The one look at the clock: usage days are UTC days."""
    return datetime.now(UTC).date()


def _settings(arguments: argparse.Namespace) -> "Settings":
    from jobs.settings import load

    return load(arguments.config, os.environ, Path.cwd())


@contextmanager
def _address(settings: "Settings") -> Iterator["Address"]:
    """The database's address; an embedded server (of the demo) is started for as long as it is needed."""
    from jobs.store.database import Address

    if settings.embedded is not None:
        from jobs.demo.server import running

        with running(settings.embedded) as url:
            yield Address(url)
    elif settings.address is None:
        raise ConfigError(
            "no database: expected DATABASE_URL (or SUPABASE_PROJECT_REF, SUPABASE_DB_PASSWORD and SUPABASE_REGION) "
            "in the environment or in .env.local; found none. To only try the job: usage-jobs demo"
        )
    else:
        yield Address(settings.address)


def _run(arguments: argparse.Namespace) -> int:
    from jobs import show
    from jobs.run import Job, nightly

    settings = _settings(arguments)
    with _address(settings) as address, show.progress() as progress:
        report = nightly(
            Job(
                settings,
                address,
                today=_today(),
                day=arguments.date,
                dry_run=arguments.dry_run,
                allow_shrink=arguments.allow_shrink,
                progress=progress,
            )
        )
    show.report(report, as_json=arguments.json)
    return report.exit_code


def _check(arguments: argparse.Namespace) -> int:
    from jobs import look, show

    settings = _settings(arguments)
    with _address(settings) as address:
        findings = look.check(settings, address, _today())
    show.findings(findings, settings, address, as_json=arguments.json)
    return 5 if any(finding.level in ("refused", "unwritable") for finding in findings) else 0


def _schema(arguments: argparse.Namespace) -> int:
    from jobs import look, show

    settings = _settings(arguments)
    if arguments.apply:
        with _address(settings) as address:
            look.apply_schema(settings, address)
    show.schema(settings, applied=arguments.apply, as_json=arguments.json)
    return 0


def _explain(arguments: argparse.Namespace) -> int:
    from jobs import explain, show

    settings = _settings(arguments)
    with _address(settings) as address:
        told = explain.explained_month(settings, address, arguments.user, arguments.month, _today())
    show.explanation(told, as_json=arguments.json)
    return 0


def _runs(arguments: argparse.Namespace) -> int:
    from jobs import look, show

    settings = _settings(arguments)
    with _address(settings) as address:
        runs = look.runs(settings, address, arguments.limit)
    show.runs(runs, as_json=arguments.json)
    return 0


def _demo(arguments: argparse.Namespace) -> int:
    from jobs.demo.story import tell

    return tell(arguments.dir, arguments.users, arguments.days, today=_today(), as_json=arguments.json)
