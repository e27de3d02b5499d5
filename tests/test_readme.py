"""What the README tells people to paste: its SQL runs, and its commands are words that the command line knows."""

import re
import shlex
from pathlib import Path

import pytest
from commands import add_usage, applied, ask, usage_jobs

from jobs.arguments import parser

README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", README, flags=re.MULTILINE | re.DOTALL)


STATEMENTS = [text.strip() for block in blocks("sql") for text in block.split(";") if text.strip()]
TICKED = re.findall(r"`(usage-jobs [a-z][^`]*)`", README)
COMMANDS = [line for block in blocks("sh") for line in block.splitlines() if line.startswith("usage-jobs ")] + TICKED


def test_there_is_something_to_paste() -> None:
    assert len(STATEMENTS) >= 4
    assert len(COMMANDS) >= 10


@pytest.mark.parametrize("statement", STATEMENTS)
def test_sql(database: str, statement: str) -> None:
    add_usage(applied(database), user_id="auth0|66a0")
    assert usage_jobs("run", url=database).code == 0
    ask(database, "UPDATE usage_daily SET date = current_date")
    assert ask(database, statement), "an answer, not only no error"


@pytest.mark.parametrize("command", COMMANDS)
def test_commands_are_understood(command: str) -> None:
    _, *words = shlex.split(command.replace("D --to D", "2026-05-01 --to 2026-05-31"), comments=True)
    assert parser().parse_args(words).command == words[0]
