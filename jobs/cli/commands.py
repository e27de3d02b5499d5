"""One function per command: it does the work and returns the result, which main prints.

No SQL and no polars here; what imports polars or another slow library is imported where it is used.
"""

import argparse
import os
import shlex
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

from jobs.audit import lists
from jobs.cli import audit_output, explain_output, help_output, output, run_output
from jobs.cli.export_command import export as _export
from jobs.cli.output import Result
from jobs.cli.report_command import report as _report
from jobs.cli.statement_command import check_statement
from jobs.cli.statement_command import statement as _statement
from jobs.demo.server import run_server
from jobs.domain.backfill_request import Backfill, BackfillLimits
from jobs.domain.errors import ConfigError, StoppedError
from jobs.domain.run_report import Report
from jobs.domain.wording import format_figure
from jobs.pipeline import manual_changes
from jobs.pipeline.output_files import check_writable
from jobs.pipeline.run_request import RunRequest
from jobs.postgres import schema_script
from jobs.postgres.conninfo import Address
from jobs.settings import Settings, files, load


@dataclass(frozen=True, slots=True)
class CommandContext:
    """The arguments of a command and what it needs of its process.

    ``scrub`` removes passwords from a text. ``who``: the user and host, for the run log.
    """

    arguments: argparse.Namespace
    clock: Callable[[], datetime]
    scrub: Callable[[str], str]
    who: str


def _load_settings(context: CommandContext) -> Settings:
    return load(context.arguments.config, os.environ, Path.cwd())


@contextmanager
def _open_address(context: CommandContext) -> Iterator[tuple[Settings, Address]]:
    """Yields the settings and the database's address; an embedded server, if configured, runs as long as the block."""
    settings = _load_settings(context)
    if settings.embedded is not None:
        with run_server(settings.embedded) as url:
            yield settings, Address(url)
    elif settings.address is None:
        raise ConfigError(
            "no database: expected DATABASE_URL (or SUPABASE_PROJECT_REF, SUPABASE_DB_PASSWORD and SUPABASE_REGION) "
            "in the environment or in .env.local; found none. To only try the job: usage-jobs demo"
        )
    else:
        address = Address(settings.address)
        for warning in filter(None, (settings.warning, address.warning)):
            print(f"usage-jobs: WARNING: {warning}", file=sys.stderr)
        yield settings, address


def _run(context: CommandContext, settings: Settings, address: Address) -> Result:
    arguments = context.arguments
    options = {"day": arguments.date, "dry_run": arguments.dry_run, "ran_out": arguments.ran_out}
    report = _run_job(context, settings, address, **options)
    _write_metrics(context, report)
    return run_output.describe_report(report)


def _backfill(context: CommandContext, settings: Settings, address: Address) -> Result:
    arguments = context.arguments
    some = (None if ids is None else frozenset(ids) for ids in (arguments.user, arguments.cluster))
    request = Backfill(arguments.since, arguments.until, arguments.reason, BackfillLimits(*some), arguments.plan)
    if not (arguments.dry_run or arguments.yes or request.plan):
        planned = _run_job(context, settings, address, backfill=request, dry_run=True)
        if planned.changes_closed_months:
            request = replace(request, plan=run_output.ask_for_approval(planned, as_json=arguments.json))
    report = _run_job(context, settings, address, backfill=request, dry_run=arguments.dry_run)
    _write_metrics(context, report)
    return run_output.describe_report(report)


def _run_job(context: CommandContext, settings: Settings, address: Address, **options: Any) -> Report:
    """Does a run or backfill with ``options`` and those that both commands have; shows its progress."""
    from jobs.pipeline.run import run_job

    arguments = context.arguments
    same = ("allow_shrink", "allow_change", "full", "trust_ledger", "adopt")
    options |= {name: getattr(arguments, name) for name in same} | {"who": context.who}
    with output.show_progress() as progress:
        return run_job(RunRequest(settings, address, progress=progress, **options))


def _write_metrics(context: CommandContext, report: Report) -> None:
    if (file := context.arguments.metrics_file) is not None:
        from jobs.service.metrics import Metrics

        metrics = Metrics()
        metrics.record_figures(report)
        metrics.record_end(report.kind, report.exit_code, context.clock())
        try:
            metrics.write(file)
        except OSError as error:  # only a warning: the run is done, and its exit code must not change
            print(f"usage-jobs: WARNING: --metrics-file {file} could not be written: {error.strerror}", file=sys.stderr)


def _reopen(context: CommandContext, settings: Settings, address: Address) -> Result:
    arguments = context.arguments
    number = manual_changes.reopen(settings, address, arguments.month, arguments.reason, context.who)
    month = f"{arguments.month:%Y-%m}"
    line = f"{month} is open again (run {number}): the next run covers it, and closes it when it is due"
    return Result({"month": month, "run_id": number}, [line])


def _debts(context: CommandContext, settings: Settings, address: Address) -> Result:
    user = context.arguments.user
    if not context.arguments.write_off:
        return audit_output.describe_debts(lists.list_debts(settings, address, user), settings.currency)
    number, amount = manual_changes.write_off(settings, address, user, context.arguments.reason, context.who)
    shown = f"{format_figure(amount)} {settings.currency}"
    line = f"{user}: {shown} written off (run {number}); later credit does not pay it"
    return Result({"user": user, "written_off": str(amount), "run_id": number}, [line])


def _check(_: CommandContext, settings: Settings, address: Address) -> Result:
    from jobs.audit.check import check

    return audit_output.describe_findings(check(settings, address), settings, address)


def _explain(context: CommandContext, settings: Settings, address: Address) -> Result:
    from jobs.audit.explain import explain_month

    arguments = context.arguments
    return explain_output.describe_explanation(explain_month(settings, address, arguments.user, arguments.month))


def _reconcile(context: CommandContext, settings: Settings, address: Address) -> Result:
    from jobs.audit.reconcile import reconcile

    arguments = context.arguments
    return audit_output.describe_checks(reconcile(settings, address, arguments.since, arguments.until))


def _watch(context: CommandContext, settings: Settings, address: Address) -> Result:
    from jobs.audit.closed_months import watch_closed_months

    found = watch_closed_months(settings, address, every=context.arguments.all)
    return audit_output.describe_closed_months(found)


def _schedule(context: CommandContext, settings: Settings, address: Address) -> None:
    from jobs.service import health_endpoint, nightly, scheduler

    daemon = nightly.Daemon(settings, address, context.clock, context.scrub, context.who)
    schedule = scheduler.Schedule(daemon.entries(), daemon.clock)
    with health_endpoint.serve_health(settings.schedule.listen, daemon.health, daemon.metrics.text):
        try:
            schedule.serve(daemon.update_health)
        except (StoppedError, KeyboardInterrupt):
            if daemon.is_working:
                raise


def _runs(context: CommandContext, settings: Settings, address: Address) -> Result:
    return output.describe_runs(lists.list_runs(settings, address, context.arguments.limit))


def _schema(context: CommandContext) -> Result:
    arguments = context.arguments
    if arguments.apply or arguments.role is not None:
        with _open_address(context) as (settings, address):
            if arguments.apply:
                text = schema_script.apply_schema(settings, address, role=arguments.role, with_view=arguments.user_view)
            else:
                text = schema_script.print_role(settings, address, arguments.role)
    else:
        settings = _load_settings(context)
        text = schema_script.print_schema(settings, with_view=arguments.user_view)
    what = f"role {arguments.role}" if arguments.role else "the view" if arguments.user_view else "schema"
    return output.describe_schema(settings, text, what, applied=arguments.apply)


def _init(context: CommandContext) -> Result:
    settings, rates = files.write_start_files(context.arguments.dir)
    is_found = files.find_settings(Path.cwd()).samefile(settings)
    option = "" if is_found else f" --config {shlex.quote(str(settings))}"
    return output.describe_start_files(settings, rates, option=option)


def _demo(context: CommandContext) -> Result:
    from jobs.cli.demo_output import show_demo

    arguments = context.arguments
    return show_demo(arguments.dir, arguments.users, arguments.days, as_json=arguments.json)


def _help(context: CommandContext) -> Result | None:
    return help_output.describe_help(context.arguments.topic, as_json=context.arguments.json)


def _check_options(arguments: argparse.Namespace) -> None:
    """Raises ConfigError for options that do not go together, and for files that cannot be written."""
    given = vars(arguments)
    if given.get("write_off") and None in (arguments.user, arguments.reason):
        raise ConfigError("--write-off: expected --user ID and --reason TEXT with it: whose debts, and why")
    if both := sorted({*given.get("adopt", ())} & {*given.get("trust_ledger", ())}):
        raise ConfigError(f"{both[0]}: expected --adopt or --trust-ledger, which are opposites; found both")
    if given.get("metrics_file") is not None and arguments.dry_run:
        raise ConfigError(
            "--metrics-file: expected a run that writes; found --dry-run, which would show an alarm a run that was not "
            "done. Leave one of them out"
        )
    if arguments.command == "statement":
        check_statement(arguments)
    check_writable("--ran-out", given.get("ran_out"))
    check_writable("--metrics-file", given.get("metrics_file"))


def _with_database(
    command: Callable[[CommandContext, Settings, Address], Result | None], context: CommandContext
) -> Result | None:
    _check_options(context.arguments)
    with _open_address(context) as (settings, address):
        return command(context, settings, address)


def _name(command: Callable[..., Any]) -> str:
    return command.__name__.removeprefix("_").replace("_", "-")


_NEED_DATABASE = (
    *(_run, _backfill, _reopen, _debts, _check, _explain, _reconcile, _watch),
    *(_export, _statement, _report, _schedule, _runs),
)
COMMANDS: dict[str, Callable[[CommandContext], Result | None]] = {
    **{_name(command): command for command in (_schema, _init, _demo, _help)},
    **{_name(command): partial(_with_database, command) for command in _NEED_DATABASE},
}
