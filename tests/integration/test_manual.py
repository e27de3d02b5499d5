"""What README and manual tell people to paste: SQL runs, commands parse, links lead somewhere; and `help`."""

import os
import pty
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from commands import DAY, add_usage, applied, ask, usage_jobs

from jobs.cli.arguments import build_parser
from jobs.demo import sample
from jobs.docs import TOPICS, read_page

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "jobs" / "docs"
PAGES = {"README": (ROOT / "README.md").read_text(encoding="utf-8")} | {topic: read_page(topic) for topic in TOPICS}
WALK = "bash walk-through"


def blocks(language: str) -> Iterator[tuple[str, str]]:
    """Page and text of each block in this language."""
    for page, text in PAGES.items():
        for block in re.findall(rf"^```{language}\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL):
            yield page, block


STATEMENTS = [(page, text.strip()) for page, block in blocks("sql") for text in block.split(";") if text.strip()]
COMMANDS = [
    *(line for way in ("sh", "bash", WALK) for _, block in blocks(way) for line in block.splitlines()),
    *(command for text in PAGES.values() for command in re.findall(r"`(usage-jobs [a-z][^`]*)`", text)),
]
LINKS = [(page, link) for page, text in PAGES.items() for link in re.findall(r"\]\(([^)#]+)", text)]


def test_there_is_something_to_paste() -> None:
    assert len(STATEMENTS) >= 6
    assert len([command for command in COMMANDS if command.startswith("usage-jobs ")]) >= 60


@pytest.mark.parametrize(("page", "statement"), STATEMENTS)
def test_sql(database: str, page: str, statement: str) -> None:
    add_usage(applied(database), user_id="auth0|66a0")
    assert usage_jobs("run", url=database).code == 0
    ask(database, "UPDATE usage_daily SET date = current_date")
    with psycopg.connect(database, autocommit=True) as connection:
        cursor = connection.execute(statement.encode())
        assert page != "operations" or cursor.fetchall(), "an answer, not only no error"


def test_commands_are_understood() -> None:
    for command in COMMANDS:
        if command.startswith("usage-jobs "):
            _, *words = shlex.split(re.split(r" (&&|\|\|) ", command.replace('"$plan"', "0" * 24))[0], comments=True)
            assert build_parser().parse_args(words).command.name == words[0]


def test_links_lead_somewhere() -> None:
    for page, link in LINKS:
        assert ((ROOT if page == "README" else DOCS) / link).exists(), f"{page}: {link}"


def test_files_that_the_manual_names_exist() -> None:
    for page, text in PAGES.items():
        for name in re.findall(r"`((?:[a-z_]+/)+[a-z_]+\.(?:py|sql|csv|toml|yaml))`", text):
            assert any((folder / name).exists() for folder in (ROOT, ROOT / "jobs")), f"{page}: {name}"


def test_the_readme_is_short() -> None:
    assert len(PAGES["README"].split()) <= 900


def test_every_page_is_a_topic() -> None:
    assert sorted(path.stem for path in DOCS.glob("*.md")) == sorted(TOPICS)
    listed = usage_jobs("help").out
    assert all(f"usage-jobs help {topic}" in listed for topic in TOPICS)


def test_help_in_a_pipe_is_the_page_itself() -> None:
    assert usage_jobs("help", "credits").out == read_page("credits")
    assert usage_jobs("help", "credits", "--json").object == {"pages": {"credits": read_page("credits")}}
    assert "expected" not in usage_jobs("help", "nothing").err
    assert usage_jobs("help", "nothing").code == 2


def test_help_on_a_terminal_is_rendered() -> None:
    """Headings without their marks, in columns of the terminal."""
    screen, keyboard = pty.openpty()
    start = "import sys; from jobs.cli.main import main; sys.exit(main(['help', 'credits']))"
    environment = os.environ | {"PAGER": "cat", "COLUMNS": "70", "TERM": "dumb"}
    process = subprocess.Popen([sys.executable, "-c", start], stdin=keyboard, stdout=keyboard, env=environment)
    os.close(keyboard)
    text = b""
    while chunk := _read(screen):
        text += chunk
    assert process.wait() == 0
    lines = text.decode().splitlines()
    assert "Accounts" in {line.strip() for line in lines}
    assert max(map(len, lines)) <= 70
    assert not any(line.startswith("#") for line in lines)


def _read(screen: int) -> bytes:
    try:
        return os.read(screen, 65536)
    except OSError:  # the other end is closed
        return b""


STUB = """#!{python}
import sys
from datetime import date
from jobs.cli import main
from jobs.postgres import server_clock
server_clock.today = lambda _: date(2026, 6, 21)
sys.exit(main.main())
"""
PSQL = """#!{python}
import sys
import psycopg
_, url, _, text = sys.argv
with psycopg.connect(url) as connection:
    cursor = connection.execute(text)
    print(*(cursor.fetchall() if cursor.description else []), sep="\\n")
"""


@pytest.mark.thorough
def test_the_walk_through(database: str, tmp_path: Path) -> None:
    """Six weeks of storage in MB: as it is pasted, on a clock of June 2026; it fails where a line fails."""
    with psycopg.connect(applied(database)) as connection:
        sample.load(connection, users=12, days=90, last_day=DAY)
        connection.execute("DELETE FROM usage_daily WHERE cpu_hours < 0 OR cpu_hours = 'NaN'")
        connection.execute("UPDATE usage_daily SET storage_gb = storage_gb * 1024 WHERE date <= '2026-05-17'")
    assert usage_jobs("run", url=database, USAGE_JOBS_START="2026-04").code in (0, 3)
    for name, text in (("usage-jobs", STUB), ("psql", PSQL)):
        (tmp_path / name).write_text(text.format(python=sys.executable))
        (tmp_path / name).chmod(0o755)
    [(_, block)] = blocks(WALK)
    environment = {"DATABASE_URL": database, "PATH": f"{tmp_path}:/usr/bin:/bin", "USAGE_JOBS_START": "2026-04"}
    done = subprocess.run(["bash", "-c", block], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "exit 6: April and May have changed" in done.stdout
    assert "nothing has changed upstream" in done.stdout
    assert len(ask(database, "SELECT DISTINCT month FROM rollup.corrections WHERE cause = 'usage'")) == 2
    assert {row["reason"] for row in ask(database, "SELECT reason FROM rollup.corrections")} == {"storage was in MB"}
