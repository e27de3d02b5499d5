"""The parsers of the commands that write files: export, statement, report."""

from typing import Any


def add_report_commands(commands: Any) -> None:
    """Adds the commands ``export``, ``statement`` and ``report``."""
    _add_export(commands)
    _add_statement(commands)
    _add_report(commands)


def _add_export(commands: Any) -> None: ...


def _add_statement(commands: Any) -> None: ...


def _add_report(commands: Any) -> None: ...
