"""The list of all commands, and the parser of the command line."""

import argparse
from pathlib import Path
from typing import NoReturn

from jobs.cli import (
    audit_commands,
    export_command,
    report_command,
    run_commands,
    service_commands,
    setup_commands,
    statement_command,
)
from jobs.cli.command import Command
from jobs.domain.errors import ConfigError

MODULES = (
    *(setup_commands, run_commands, audit_commands),
    *(export_command, statement_command, report_command, service_commands),
)
COMMANDS = [found for module in MODULES for found in vars(module).values() if isinstance(found, Command)]
"""Every command, in the order of --help."""
CONFIG_HELP = "settings file (default: USAGE_JOBS_CONFIG, else settings.toml, else config/settings.toml)"


class Parser(argparse.ArgumentParser):
    """A parser whose errors are ConfigErrors (exit 2) and name the remedy."""

    def error(self, message: str) -> NoReturn:
        raise ConfigError(f"{message}. See: {self.prog} --help")


def build_parser() -> argparse.ArgumentParser:
    """The parser of every command and option; ``command`` of what it returns is the Command."""
    top = Parser(prog="usage-jobs", description="Prices usage_daily and rolls the cost up, exactly, and again.")
    top.add_argument("--version", action="version", version=_version())
    parsers = top.add_subparsers(required=True, metavar="COMMAND")
    for command in COMMANDS:
        description = f"{command.text[:1].upper()}{command.text[1:]}."
        example = f"Example: {command.example}"
        parser = parsers.add_parser(command.name, help=command.text, description=description, epilog=example)
        parser.add_argument("--config", type=Path, metavar="PATH", help=CONFIG_HELP)
        parser.add_argument("--json", action="store_true", help="one JSON object on standard output")
        for add_option in command.options:
            add_option(parser)
        parser.set_defaults(command=command)
    return top


def _version() -> str:
    from importlib.metadata import version

    return f"usage-jobs {version('usage-jobs')}"
