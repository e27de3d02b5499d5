"""What the README tells people to paste: its SQL runs, and its commands are words that the command line knows."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import psycopg
import pytest
from commands import DAY, add_usage, applied, ask, usage_jobs

from jobs.cli.arguments import build_parser
from jobs.demo import sample

README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", README, flags=re.MULTILINE | re.DOTALL)


STATEMENTS = [text.strip() for block in blocks("sql") for text in block.split(";") if text.strip()]
TICKED = re.findall(r"`(usage-jobs [a-z][^`]*)`", README)
WALK = blocks("sh walk-through")
COMMANDS = [
    line for block in [*blocks("sh"), *WALK] for line in block.splitlines() if line.startswith("usage-jobs ")
] + TICKED


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
    plain = command.replace("D --to D", "2026-05-01 --to 2026-05-31").replace('"$plan"', "0" * 24)
    _, *words = shlex.split(re.split(r" (&&|\|\|) ", plain)[0], comments=True)
    assert build_parser().parse_args(words).command == words[0]


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
    [block] = WALK
    environment = {"DATABASE_URL": database, "PATH": f"{tmp_path}:/usr/bin:/bin", "USAGE_JOBS_START": "2026-04"}
    done = subprocess.run(["bash", "-c", block], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "exit 6: April and May have changed" in done.stdout
    assert "nothing has changed upstream" in done.stdout
    assert len(ask(database, "SELECT DISTINCT month FROM rollup.corrections WHERE cause = 'usage'")) == 2
    assert {row["reason"] for row in ask(database, "SELECT reason FROM rollup.corrections")} == {"storage was in MB"}
