"""One function per command: it loads the settings, does the work, and returns the result, which main prints.

No SQL and no polars here; modules that are slow to import are imported where they are used.
"""

import argparse
import os
import shlex
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jobs.domain.backfill_request import Backfill, Limits
from jobs.domain.errors import ConfigError, StoppedError
from jobs.domain.wording import format_figure
from jobs.pipeline.output_files import check_writable

if TYPE_CHECKING:
    from jobs.cli.output import Result
    from jobs.domain.run_report import Report
    from jobs.postgres.conninfo import Address
    from jobs.settings import Settings


@dataclass(frozen=True, slots=True)
class CommandContext:
    """The arguments of a command and what it needs of its process.

    ``scrub`` removes passwords from a text. ``who``: the user and host, for the run log.
    """

    arguments: argparse.Namespace
    clock: Callable[[], datetime]
    scrub: Callable[[str], str]
    who: str


def _load_settings(context: CommandContext) -> "Settings":
    from jobs.settings import load

    return load(context.arguments.config, os.environ, Path.cwd())


@contextmanager
def _open_address(context: CommandContext) -> Iterator[tuple["Settings", "Address"]]:
    """Yields the settings and the database's address; an embedded server, if configured, runs as long as the block."""
    from jobs.postgres.conninfo import Address

    settings = _load_settings(context)
    if settings.embedded is not None:
        from jobs.demo.server import run_server

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


def _run(context: CommandContext) -> "Result":
    from jobs.cli import output

    arguments = context.arguments
    check_writable("--ran-out", arguments.ran_out)
    _check_metrics_file(arguments)
    with _open_address(context) as (settings, address):
        options = {"day": arguments.date, "dry_run": arguments.dry_run, "ran_out": arguments.ran_out}
        report = _run_job(context, settings, address, **options)
    _write_metrics(context, report)
    return output.describe_report(report)


def _backfill(context: CommandContext) -> "Result":
    from jobs.cli import plan_output

    arguments = context.arguments
    some = (None if ids is None else frozenset(ids) for ids in (arguments.user, arguments.cluster))
    request = Backfill(arguments.since, arguments.until, arguments.reason, Limits(*some), arguments.plan)
    _check_metrics_file(arguments)
    with _open_address(context) as (settings, address):
        if not (arguments.dry_run or arguments.yes or request.plan):
            planned = _run_job(context, settings, address, backfill=request, dry_run=True)
            if planned.changes_closed_months:
                request = replace(request, plan=plan_output.ask_for_approval(planned, as_json=arguments.json))
        report = _run_job(context, settings, address, backfill=request, dry_run=arguments.dry_run)
    _write_metrics(context, report)
    return plan_output.describe_plan(report)


def _reopen(context: CommandContext) -> "Result":
    from jobs.cli import output
    from jobs.pipeline.manual_changes import reopen

    arguments = context.arguments
    with _open_address(context) as (settings, address):
        number = reopen(settings, address, arguments.month, arguments.reason, context.who)
    month = f"{arguments.month:%Y-%m}"
    line = f"{month} is open again (run {number}): the next run covers it, and closes it when it is due"
    return output.Result({"month": month, "run_id": number}, [line])


def _debts(context: CommandContext) -> "Result":
    from jobs.audit import lists
    from jobs.cli import audit_output, output

    arguments = context.arguments
    if arguments.write_off and (arguments.user is None or arguments.reason is None):
        raise ConfigError("--write-off: expected --user ID and --reason TEXT with it: whose debts, and why")
    with _open_address(context) as (settings, address):
        if arguments.write_off:
            from jobs.pipeline.manual_changes import write_off

            number, amount = write_off(settings, address, arguments.user, arguments.reason, context.who)
            shown = f"{format_figure(amount)} {settings.currency}"
            line = f"{arguments.user}: {shown} written off (run {number}); later credit does not pay it"
            found = {"user": arguments.user, "written_off": str(amount), "run_id": number}
            return output.Result(found, [line])
        return audit_output.describe_debts(lists.list_debts(settings, address, arguments.user), settings.currency)


def _run_job(context: CommandContext, settings: "Settings", address: "Address", **options: Any) -> "Report":
    """Does a run or backfill with ``options`` and those that both commands have; shows its progress."""
    from jobs.cli import output
    from jobs.pipeline.run import run_job
    from jobs.pipeline.run_request import RunRequest

    arguments = context.arguments
    if both := sorted({*arguments.adopt} & {*arguments.trust_ledger}):
        raise ConfigError(f"{both[0]}: expected --adopt or --trust-ledger, which are opposites; found both")
    same = ("allow_shrink", "allow_change", "full", "trust_ledger", "adopt")
    options |= {name: getattr(arguments, name) for name in same} | {"who": context.who}
    with output.show_progress() as progress:
        return run_job(RunRequest(settings, address, progress=progress, **options))


def _check_metrics_file(arguments: argparse.Namespace) -> None:
    if arguments.metrics_file is not None and arguments.dry_run:
        raise ConfigError(
            "--metrics-file: expected a run that writes; found --dry-run, which would show an alarm a run that was not "
            "done. Leave one of them out"
        )
    check_writable("--metrics-file", arguments.metrics_file)


def _write_metrics(context: CommandContext, report: "Report") -> None:
    if (file := context.arguments.metrics_file) is not None:
        from jobs.service.metrics import Metrics

        metrics = Metrics()
        metrics.record_run(report, context.clock())
        try:
            metrics.write(file)
        except OSError as error:  # only a warning: the run is done, and its exit code must not change
            print(f"usage-jobs: WARNING: --metrics-file {file} could not be written: {error.strerror}", file=sys.stderr)


def _check(context: CommandContext) -> "Result":
    from jobs.audit import check
    from jobs.cli import check_output

    with _open_address(context) as (settings, address):
        findings = check.check(settings, address)
    return check_output.describe_findings(findings, settings, address)


def _schema(context: CommandContext) -> "Result":
    from jobs.cli import output
    from jobs.postgres import schema_script

    arguments = context.arguments
    if arguments.apply or arguments.role is not None:
        with _open_address(context) as (settings, address):
            if arguments.apply:
                text = schema_script.apply_schema(settings, address, role=arguments.role, with_view=arguments.user_view)
            else:
                text = schema_script.grants(settings, address, arguments.role)
    else:
        settings = _load_settings(context)
        text = (schema_script.view_for_users if arguments.user_view else schema_script.own_schema)(settings)
    what = f"role {arguments.role}" if arguments.role else "the view" if arguments.user_view else "schema"
    return output.describe_schema(settings, text, what, applied=arguments.apply)


def _init(context: CommandContext) -> "Result":
    from jobs.cli import output
    from jobs.settings import files

    settings, rates = files.write_start_files(context.arguments.dir)
    is_found = files.find_settings(Path.cwd()).samefile(settings)
    option = "" if is_found else f" --config {shlex.quote(str(settings))}"
    return output.describe_start_files(settings, rates, option=option)


def _explain(context: CommandContext) -> "Result":
    from jobs.audit import explain
    from jobs.cli import audit_output

    arguments = context.arguments
    with _open_address(context) as (settings, address):
        explanation = explain.explain_month(settings, address, arguments.user, arguments.month)
    return audit_output.describe_explanation(explanation)


def _reconcile(context: CommandContext) -> "Result":
    from jobs.audit.reconcile import reconcile
    from jobs.cli import audit_output

    arguments = context.arguments
    with _open_address(context) as (settings, address):
        checks = reconcile(settings, address, arguments.since, arguments.until)
    return audit_output.describe_checks(checks)


def _watch(context: CommandContext) -> "Result":
    from jobs.audit.closed_months import watch_closed_months
    from jobs.cli import audit_output

    with _open_address(context) as (settings, address):
        found = watch_closed_months(settings, address, every=context.arguments.all)
    return audit_output.describe_closed_months(found)


def _schedule(context: CommandContext) -> None:
    from jobs.service import health_endpoint, nightly, scheduler

    with _open_address(context) as (settings, address):
        daemon = nightly.Daemon(settings, address, context.clock, context.scrub, context.who)
        schedule = scheduler.Schedule(daemon.entries(), daemon.clock)
        with health_endpoint.serve_health(settings.schedule.listen, daemon.health, daemon.metrics.text):
            try:
                schedule.serve(daemon.update_health)
            except (StoppedError, KeyboardInterrupt):
                if daemon.is_working:
                    raise


def _runs(context: CommandContext) -> "Result":
    from jobs.audit import lists
    from jobs.cli import output

    with _open_address(context) as (settings, address):
        runs = lists.list_runs(settings, address, context.arguments.limit)
    return output.describe_runs(runs)


def _demo(context: CommandContext) -> "Result":
    from jobs.cli.demo_output import show_demo

    arguments = context.arguments
    return show_demo(arguments.dir, arguments.users, arguments.days, as_json=arguments.json)


def _help(context: CommandContext) -> "Result | None":
    from jobs.cli.help_output import describe_help

    return describe_help(context.arguments.topic, as_json=context.arguments.json)


_ALL = (_demo, _check, _schema, _init, _run, _backfill, _reopen, _debts, _explain, _reconcile, _watch, _schedule, _runs)
Command = Callable[[CommandContext], "Result | None"]
COMMANDS: dict[str, Command] = {command.__name__[1:].replace("_", "-"): command for command in (*_ALL, _help)}
