"""The commands that write: `run`, `backfill`, `reopen` and `debts`."""

from __future__ import annotations

import sys
from argparse import Namespace
from collections.abc import Iterator, Sequence
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jobs.cli import output, run_output
from jobs.cli.command import Call, command
from jobs.cli.options import flag, option, parse_as, parse_cluster, parse_day, parse_hash, parse_month, parse_text
from jobs.cli.output import Result
from jobs.domain.backfill_request import Backfill, BackfillLimits
from jobs.domain.check_tokens import LargeChange, Shrink
from jobs.domain.errors import ConfigError
from jobs.domain.run_report import Report
from jobs.domain.wording import count, format_figure

if TYPE_CHECKING:
    from jobs.postgres.debts import Debt

_MANY: dict[str, Any] = {"action": "append", "default": []}
_A_TOKEN = "a token; expected one as the refusal of this run has printed it"  # noqa: S105 - no password
_TRUST = "of a user who is set aside: write the ledger's credits over those in the usage rows; repeatable"
_ADOPT = "of a user who is set aside: take the credits in the usage rows into the ledger, balances stay; repeatable"
_CONTINUE = "continue although {}: the token that the refusal has printed; repeatable"
_SHRUNK, _CHANGED = "much usage has disappeared", "much of the covered days would change"
_CLUSTER = "only this cluster's rows (none: those without one) may change; repeatable"
COMMON = (
    option("--metrics-file", "write Prometheus metrics to this file", Path),
    option("--trust-ledger", _TRUST, parse_text, "USER", **_MANY),
    option("--adopt", _ADOPT, parse_text, "USER", **_MANY),
    option("--allow-shrink", _CONTINUE.format(_SHRUNK), parse_as(Shrink.parse, _A_TOKEN), "TOKEN", **_MANY),
    option("--allow-change", _CONTINUE.format(_CHANGED), parse_as(LargeChange.parse, _A_TOKEN), "TOKEN", **_MANY),
)
"""Options of `run` and `backfill`: decisions after a refusal, or on users who are set aside."""


def _check_run(arguments: Namespace) -> None:
    """Raises ConfigError for options that do not go together, and for files that cannot be written."""
    from jobs.pipeline.output_files import check_writable

    if both := sorted({*arguments.adopt} & {*arguments.trust_ledger}):
        raise ConfigError(f"{both[0]}: expected --adopt or --trust-ledger, which are opposites; found both")
    if arguments.metrics_file is not None and arguments.dry_run:
        raise ConfigError(
            "--metrics-file: expected a run that writes; found --dry-run, which an alarm would take for a run. Leave "
            "one of them out"
        )
    check_writable("--ran-out", getattr(arguments, "ran_out", None))
    check_writable("--metrics-file", arguments.metrics_file)


@command(
    "run",
    "the nightly job: every open month to yesterday",
    "usage-jobs run --dry-run",
    option("--date", "the last day to cover (default: yesterday, UTC)", parse_day),
    flag("--full", "recompute all users, and rebuild the cluster tables"),
    flag("--dry-run", "compute and compare; write nothing"),
    option("--ran-out", "write the users who ran out of credits to this CSV file", Path),
    *COMMON,
)
def run(call: Call) -> Result:
    """The nightly run, and its report."""
    _check_run(call.arguments)
    report = _run_job(call, day=call.arguments.date, dry_run=call.arguments.dry_run, ran_out=call.arguments.ran_out)
    _write_metrics(call, report)
    return run_output.describe_report(report)


@command(
    "backfill",
    "compute past months again, closed ones included",
    "usage-jobs backfill --from 2026-05-01 --to 2026-06-30 --reason 'storage was collected wrongly' --dry-run",
    option("--from", "the first day; its whole month is computed", parse_day, dest="since", required=True),
    option("--to", "the last day; its whole month is computed", parse_day, dest="until", required=True),
    option("--user", "only this user's rows may change; repeatable", parse_text, "ID", action="append"),
    option("--cluster", _CLUSTER, parse_cluster, action="append"),
    option("--reason", "why; required where a closed month is among the days", parse_text),
    flag("--full", "recompute all users, whether anything differs or not"),
    flag("--dry-run", "show the plan and its hash; write nothing"),
    option("--plan", "write this plan, or nothing if the data has changed", parse_hash, "HASH"),
    flag("--yes", "do not ask before a closed month changes"),
    *COMMON,
)
def backfill(call: Call) -> Result:
    """A dry run first, where a person must agree to what changes in closed months."""
    arguments = call.arguments
    _check_run(arguments)
    limits = (None if ids is None else frozenset(ids) for ids in (arguments.user, arguments.cluster))
    request = Backfill(arguments.since, arguments.until, arguments.reason, BackfillLimits(*limits), arguments.plan)
    if not (arguments.dry_run or arguments.yes or request.plan):
        planned = _run_job(call, backfill=request, dry_run=True)
        if planned.changes_closed_months:
            request = replace(request, plan=run_output.ask_for_approval(planned, as_json=arguments.json))
    report = _run_job(call, backfill=request, dry_run=arguments.dry_run)
    _write_metrics(call, report)
    return run_output.describe_report(report)


def _run_job(call: Call, **options: Any) -> Report:
    """Does a run or backfill with ``options`` and those that both commands have; shows its progress."""
    from jobs.pipeline.run import run_job
    from jobs.pipeline.run_request import RunRequest

    same = ("allow_shrink", "allow_change", "full", "trust_ledger", "adopt")
    options |= {name: getattr(call.arguments, name) for name in same} | {"who": call.who}
    request = RunRequest(call.settings, call.address, **options)
    with output.show_progress() as progress:
        return run_job(replace(request, progress=progress))


def _write_metrics(call: Call, report: Report) -> None:
    if (file := call.arguments.metrics_file) is not None:
        from jobs.service.metrics import Metrics

        metrics = Metrics()
        metrics.record_figures(report)
        metrics.record_end(report.kind, report.exit_code, call.clock())
        try:
            metrics.write(file)
        except OSError as error:  # only a warning: the run is done, and its exit code must not change
            print(f"usage-jobs: WARNING: --metrics-file {file} could not be written: {error.strerror}", file=sys.stderr)


@command(
    "reopen",
    "open the last closed month again, for runs to cover and close",
    "usage-jobs reopen --month 2026-05 --reason 'closed on a wrong clock'",
    option("--month", "the last closed month", parse_month, required=True),
    option("--reason", "why, for the run log", parse_text, required=True),
)
def reopen(call: Call) -> Result:
    """The month is open, and the run log says why."""
    from jobs.pipeline import manual_changes

    arguments = call.arguments
    number = manual_changes.reopen(call.settings, call.address, arguments.month, arguments.reason, call.who)
    month = f"{arguments.month:%Y-%m}"
    line = f"{month} is open again (run {number}): the next run covers it, and closes it when it is due"
    return Result({"month": month, "run_id": number}, [line])


@command(
    "debts",
    "list or write off what prepaid users owe for closed months",
    "usage-jobs debts --user 'auth0|66a0' --write-off --reason 'agreed with the customer'",
    option("--user", "only this user's", parse_text, "ID"),
    flag("--write-off", "write off this user's open debts"),
    option("--reason", "why they are written off, for the run log", parse_text),
)
def debts(call: Call) -> Result:
    """The list, or what is written off."""
    from jobs.pipeline.manual_changes import write_off
    from jobs.postgres.debts import read_debts

    user, reason = call.arguments.user, call.arguments.reason
    if not call.arguments.write_off:
        return describe_debts(call.query(read_debts, user), call.settings.currency)
    if None in (user, reason):
        raise ConfigError("--write-off: expected --user ID and --reason TEXT with it: whose debts, and why")
    number, amount = write_off(call.settings, call.address, user, reason, call.who)
    currency = call.settings.currency
    line = f"{user}: {format_figure(amount)} {currency} written off (run {number}); later credit does not pay it"
    return Result({"user": user, "written_off": str(amount), "run_id": number}, [line])


def describe_debts(found: Sequence[Debt], currency: str) -> Result:
    """The table of `debts`: what was uncovered of each row when its month closed, settled and written off."""
    left = sum((debt.open for debt in found), start=Decimal(0))
    objects = [output.to_plain(debt) | {"open": str(debt.open)} for debt in found]
    return Result({"debts": objects, "open": str(left)}, _debt_lines(found, left, currency))


def _debt_lines(found: Sequence[Debt], left: Decimal, currency: str) -> Iterator[str]:
    if not found:
        yield "no user owes anything for a closed month"
        return
    rows: list[tuple[str, ...]] = [("user", "day", "uncovered", "settled", "written off", "open")]
    for debt in found:
        amounts = (debt.amount, debt.settled, debt.written_off, debt.open)
        rows.append((debt.user_id, str(debt.usage_date), *map(format_figure, amounts)))
    heading, *lines = output.lay_out("<<>>>>", rows)
    yield heading
    for debt, line in zip(found, lines, strict=True):
        yield line
        if debt.reason:
            yield output.wrap(debt.reason, "  written off: ", "  ")
    owing = {debt.user_id for debt in found if debt.open}
    yield f"{format_figure(left)} {currency} open of {count(len(owing), 'user')}"
