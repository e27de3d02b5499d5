"""The parser of the command line: every command and its options, but for the commands that write files."""

import argparse
from pathlib import Path
from typing import Any

from jobs.cli.options import (
    Parser,
    add_command,
    parse_as,
    parse_cluster,
    parse_count,
    parse_day,
    parse_hash,
    parse_month,
    parse_role,
    parse_text,
)
from jobs.cli.report_arguments import add_report_commands
from jobs.docs import TOPICS
from jobs.domain.check_tokens import LargeChange, Shrink


def build_parser() -> argparse.ArgumentParser:
    """The parser of every command and option; the help of each command has an example."""
    top = Parser(prog="usage-jobs", description="Prices usage_daily and rolls the cost up, exactly, and again.")
    top.add_argument("--version", action="version", version=_version())
    commands = top.add_subparsers(required=True, metavar="COMMAND")
    demo = add_command(commands, "demo", "try it on an embedded PostgreSQL with sample usage", "usage-jobs demo")
    demo.add_argument("--users", type=parse_count, default=200, metavar="N", help="users to make up (default: 200)")
    demo.add_argument(
        "--days", type=parse_count, default=45, metavar="N", help="days of usage, to yesterday (default: 45)"
    )
    demo.add_argument("--dir", type=Path, default=Path("usage-jobs-demo"), metavar="PATH", help="its data directory")
    add_command(commands, "check", "can the job do its work here? changes nothing", "usage-jobs check")
    _add_schema(commands)
    init = add_command(commands, "init", "write settings.toml and rates.csv to start from", "usage-jobs init")
    init.add_argument("dir", nargs="?", type=Path, default=Path(), metavar="DIR", help="where (default: here)")
    run = add_command(commands, "run", "the nightly job: every open month to yesterday", "usage-jobs run --dry-run")
    run.add_argument("--date", type=parse_day, metavar="D", help="the last day to cover (default: yesterday, UTC)")
    run.add_argument("--full", action="store_true", help="recompute all users, and rebuild the cluster tables")
    run.add_argument("--dry-run", action="store_true", help="compute and compare; write nothing")
    what = "write the users who ran out of credits to this CSV file"
    run.add_argument("--ran-out", type=Path, metavar="FILE", help=what)
    _add_common(run)
    _add_backfill(commands)
    example = "usage-jobs reopen --month 2026-05 --reason 'closed on a wrong clock'"
    reopen = add_command(commands, "reopen", "open the last closed month again, for runs to cover and close", example)
    reopen.add_argument("--month", required=True, type=parse_month, metavar="YYYY-MM", help="the last closed month")
    reopen.add_argument("--reason", required=True, type=parse_text, metavar="TEXT", help="why, for the run log")
    example = "usage-jobs debts --user 'auth0|66a0' --write-off --reason 'agreed with the customer'"
    debts = add_command(commands, "debts", "list or write off what prepaid users owe for closed months", example)
    debts.add_argument("--user", type=parse_text, metavar="ID", help="only this user's")
    debts.add_argument("--write-off", action="store_true", help="write off this user's open debts")
    debts.add_argument("--reason", type=parse_text, metavar="TEXT", help="why they are written off, for the run log")
    example = "usage-jobs explain --user 'auth0|66a0' --month 2026-06"
    explain = add_command(commands, "explain", "how one user's month adds up, row by row", example)
    explain.add_argument("--user", required=True, type=parse_text, metavar="ID", help="the user's id")
    explain.add_argument("--month", required=True, type=parse_month, metavar="YYYY-MM", help="the month")
    example = "usage-jobs reconcile --from 2026-05-01 --to 2026-06-30"
    reconcile = add_command(
        commands, "reconcile", "check every invariant on the live database; changes nothing", example
    )
    reconcile.add_argument(
        "--from", dest="since", type=parse_day, metavar="D", help="only the months from this day's on"
    )
    reconcile.add_argument("--to", dest="until", type=parse_day, metavar="D", help="only the months up to this day's")
    example = "usage-jobs watch --all"
    watch = add_command(commands, "watch", "have closed months changed upstream? changes nothing", example)
    watch.add_argument("--all", action="store_true", help="every closed month (default: the last watch_months)")
    add_report_commands(commands)
    add_command(commands, "schedule", "stay up and run on the cron in the settings", "usage-jobs schedule")
    runs = add_command(commands, "runs", "the run log, newest first", "usage-jobs runs --limit 5")
    runs.add_argument("--limit", type=parse_count, default=20, metavar="N", help="how many (default: 20)")
    pages = add_command(commands, "help", "show the manual", "usage-jobs help credits")
    pages.add_argument("topic", nargs="?", choices=TOPICS, metavar="TOPIC", help=f"one of: {', '.join(TOPICS)}")
    return top


def _add_schema(commands: Any) -> None:
    schema = add_command(commands, "schema", "print the DDL of the job's own tables", "usage-jobs schema --apply")
    schema.add_argument("--apply", action="store_true", help="run it; safe to repeat")
    instead = schema.add_mutually_exclusive_group()
    what = "instead: a role that may do only what the job does"
    instead.add_argument("--role", type=parse_role, metavar="NAME", help=what)
    instead.add_argument("--user-view", action="store_true", help="instead: a view of their own months for users")


def _add_backfill(commands: Any) -> None:
    example = "usage-jobs backfill --from 2026-05-01 --to 2026-06-30 --reason 'storage was collected wrongly' --dry-run"
    backfill = add_command(commands, "backfill", "compute past months again, closed ones included", example)
    for option, name, which in (("--from", "since", "first"), ("--to", "until", "last")):
        what = f"the {which} day; its whole month is computed"
        backfill.add_argument(option, dest=name, type=parse_day, required=True, metavar="D", help=what)
    for option, parse, what in (
        ("--user", parse_text, "only this user's rows may change; repeatable"),
        ("--cluster", parse_cluster, "only this cluster's rows (none: those without one) may change; repeatable"),
    ):
        backfill.add_argument(option, action="append", type=parse, metavar="ID", help=what)
    why = "why; required where a closed month is among the days"
    backfill.add_argument("--reason", type=parse_text, metavar="TEXT", help=why)
    backfill.add_argument("--full", action="store_true", help="recompute all users, whether anything differs or not")
    backfill.add_argument("--dry-run", action="store_true", help="show the plan and its hash; write nothing")
    what = "write this plan, or nothing if the data has changed"
    backfill.add_argument("--plan", type=parse_hash, metavar="HASH", help=what)
    backfill.add_argument("--yes", action="store_true", help="do not ask before a closed month changes")
    _add_common(backfill)


def _add_common(command: argparse.ArgumentParser) -> None:
    """Adds the options of `run` and `backfill`: decisions after a refusal, or on users who are set aside."""
    command.add_argument("--metrics-file", type=Path, metavar="FILE", help="write Prometheus metrics to this file")
    ledger = "overwrite the credits shown in this user's rows, set aside for them, with the ledger's; repeatable"
    adopt = "enter the credits shown in this user's rows in the ledger, without a draw; repeatable"
    for option, what in (("--trust-ledger", ledger), ("--adopt", adopt)):
        command.add_argument(option, action="append", default=[], type=parse_text, metavar="USER", help=what)
    for option, parse, why in (
        ("--allow-shrink", Shrink.parse, "much usage has disappeared"),
        ("--allow-change", LargeChange.parse, "much of the covered days would change"),
    ):
        what = f"continue although {why}: the token that the refusal has printed; repeatable"
        token = parse_as(parse, "a token; expected one as the refusal of this run has printed it")
        command.add_argument(option, action="append", default=[], type=token, metavar="TOKEN", help=what)


def _version() -> str:
    from importlib.metadata import version

    return f"usage-jobs {version('usage-jobs')}"
