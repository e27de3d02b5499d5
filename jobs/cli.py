"""The commands: exit codes and the clock. No SQL and no polars here; heavy modules load where they are used.

Standard output carries the result (with --json one object), standard error everything else.
"""

import argparse
import os
import signal
import sys
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, NoReturn

from jobs.arguments import parser
from jobs.model.backfill import Backfill, Limits
from jobs.model.errors import ConfigError, UsageJobsError

if TYPE_CHECKING:
    from jobs.model.report import Report
    from jobs.settings import Settings
    from jobs.store.address import Address

INTERRUPTED = 130
"""What a shell expects of a command that Ctrl-C ended; SIGTERM gives 143, SIGHUP 129."""


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
        _logging()
        code = COMMANDS[arguments.command](arguments)
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
    return _scrubbed("".join(traceback.format_exception(error)))


def _scrubbed(text: str) -> str:
    from jobs.settings import secrets

    for secret in secrets(os.environ, Path.cwd()):
        text = text.replace(secret, "***")
    return text


def _logging() -> None:
    from jobs import log

    log.configure()


def _today() -> date:
    """The one look at the clock: usage days are UTC days."""
    return datetime.now(UTC).date()


def _settings(arguments: argparse.Namespace) -> "Settings":
    from jobs.settings import load

    return load(arguments.config, os.environ, Path.cwd())


@contextmanager
def _address(settings: "Settings") -> Iterator["Address"]:
    """The database's address; an embedded server (of the demo) is started for as long as it is needed."""
    from jobs.store.address import Address

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
        address = Address(settings.address)
        if address.warning:
            print(f"usage-jobs: WARNING: {address.warning}", file=sys.stderr)
        yield address


def _run(arguments: argparse.Namespace) -> int:
    from jobs import show
    from jobs.run import Job, perform

    settings = _settings(arguments)
    if arguments.ran_out is not None and not arguments.ran_out.parent.is_dir():
        raise ConfigError(f"--ran-out {arguments.ran_out}: expected a file in a folder that exists")
    with _address(settings) as address, show.progress() as progress:
        report = perform(
            Job(
                settings,
                address,
                today=_today(),
                day=arguments.date,
                dry_run=arguments.dry_run,
                allow_shrink=arguments.allow_shrink,
                ran_out=arguments.ran_out,
                progress=progress,
            )
        )
    _measured(report, arguments.metrics_file)
    show.report(report, as_json=arguments.json)
    return report.exit_code


def _measured(report: "Report", file: Path | None) -> None:
    if file is not None:
        from jobs.metrics import Metrics

        metrics = Metrics()
        metrics.done(report, datetime.now(UTC))
        metrics.write(file)


def _backfill(arguments: argparse.Namespace) -> int:
    from jobs import proposal, show
    from jobs.run import Job, perform

    settings, asked = _settings(arguments), _asked(arguments)
    with _address(settings) as address:

        def done(backfill: Backfill, *, dry_run: bool) -> "Report":
            with show.progress() as progress:
                return perform(
                    Job(
                        settings,
                        address,
                        today=_today(),
                        backfill=backfill,
                        dry_run=dry_run,
                        allow_shrink=arguments.allow_shrink,
                        progress=progress,
                    )
                )

        if not (arguments.dry_run or arguments.yes or asked.plan):
            tried = done(asked, dry_run=True)
            if tried.changes_closed_months:
                asked = replace(asked, plan=proposal.agreed_to(tried, as_json=arguments.json))
        report = done(asked, dry_run=arguments.dry_run)
    _measured(report, arguments.metrics_file)
    proposal.shown(report, as_json=arguments.json)
    return report.exit_code


def _asked(arguments: argparse.Namespace) -> Backfill:
    limits = Limits(
        users=None if arguments.user is None else frozenset(arguments.user),
        clusters=None if arguments.cluster is None else frozenset(arguments.cluster),
    )
    return Backfill(arguments.since, arguments.until, arguments.reason, limits, arguments.plan)


def _check(arguments: argparse.Namespace) -> int:
    from jobs import look, verdict

    settings = _settings(arguments)
    with _address(settings) as address:
        findings = look.check(settings, address, _today())
    verdict.shown(findings, settings, address, as_json=arguments.json)
    return 5 if any(finding.level not in ("ok", "note") for finding in findings) else 0


def _schema(arguments: argparse.Namespace) -> int:
    from jobs import look, show

    settings = _settings(arguments)
    if arguments.apply:
        with _address(settings) as address:
            text = look.apply_schema(settings, address, role=arguments.role, with_view=arguments.user_view)
    elif arguments.role is not None:
        with _address(settings) as address:
            text = look.grants(settings, address, arguments.role)
    else:
        text = (look.view_for_users if arguments.user_view else look.own_schema)(settings)
    what = f"role {arguments.role}" if arguments.role else "the view" if arguments.user_view else "schema"
    show.schema(settings, text, what, applied=arguments.apply, as_json=arguments.json)
    return 0


def _explain(arguments: argparse.Namespace) -> int:
    from jobs import explain, proofs

    settings = _settings(arguments)
    with _address(settings) as address:
        told = explain.explained_month(settings, address, arguments.user, arguments.month, _today())
    proofs.explanation(told, as_json=arguments.json)
    return 0


def _reconcile(arguments: argparse.Namespace) -> int:
    from jobs import proofs
    from jobs.reconcile import reconciled

    settings = _settings(arguments)
    with _address(settings) as address:
        laws = reconciled(settings, address, arguments.since, arguments.until, _today())
    proofs.laws(laws, as_json=arguments.json)
    return 6 if any(law.broken for law in laws) else 0


def _watch(arguments: argparse.Namespace) -> int:
    from jobs import proofs
    from jobs.watch import watched

    settings = _settings(arguments)
    with _address(settings) as address:
        found = watched(settings, address, _today(), every=arguments.all)
    proofs.watched(found, settings.currency, as_json=arguments.json)
    return 6 if any(month.changed for month in found) else 0


class SystemClock:
    """Time as it is."""

    def now(self) -> datetime:
        return datetime.now(UTC)

    def wait(self, seconds: float) -> None:
        time.sleep(seconds)


def _schedule(arguments: argparse.Namespace) -> int:
    from jobs import daemon, health, schedule

    settings = _settings(arguments)
    with _address(settings) as address:
        served = daemon.Daemon(settings, address, SystemClock(), _scrubbed)
        dues = schedule.entries(served.entries(), served.clock)
        with health.listening(settings.schedule.listen, served.health, served.metrics.text):
            try:
                schedule.serve(dues, served.clock, on=served.tell)
            except (StoppedError, KeyboardInterrupt):
                if served.working:
                    raise
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


COMMANDS = {
    "demo": _demo,
    "check": _check,
    "schema": _schema,
    "run": _run,
    "backfill": _backfill,
    "explain": _explain,
    "reconcile": _reconcile,
    "watch": _watch,
    "schedule": _schedule,
    "runs": _runs,
}
