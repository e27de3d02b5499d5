"""The house (DESIGN section 1): which room may import which, and what no room may hold. Told by path and line."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
JOBS = ROOT / "jobs"
RUN_LEVEL = {"look", "explain", "reconcile", "recompute", "show", "proofs", "verdict"} | {
    *("proposal", "watch", "log", "metrics", "health", "daemon"),
}
"""Single modules that look at the outcome of a run, or serve those that start one."""
BELOW = {"pipeline", "postgres", "compute", "store", "settings", "model"}
MAY_IMPORT: dict[str, set[str]] = {
    "model": set(),
    "compute": {"model"},
    "settings": {"model"},
    "store": {"model", "settings"},
    "postgres": {"store", "settings", "model"},
    "files": {"model"},
    "pipeline": {"postgres", "store", "compute", "settings", "model", "log", "files"},
    **dict.fromkeys(RUN_LEVEL, RUN_LEVEL | BELOW | {"schedule"}),
    "demo": RUN_LEVEL | BELOW,
    "arguments": {"model"},
    "commands": RUN_LEVEL | BELOW | {"demo", "schedule", "files"},
    "cli": {"arguments", "commands", "log", "model", "settings", "show"},
    "schedule": {"model"},
    "": set(),  # jobs/__init__.py is a map, not code
}
"""cli, schedule → run-level modules → pipeline → postgres, compute → store, settings → model; a room may always import
from itself."""
NOT_FOR = {
    "commands": {"polars", "psycopg"},
    "cli": {"polars", "psycopg"},
    "schedule": {"polars", "psycopg"},
    "model": {"psycopg", "connectorx"},
}
"""Libraries that a room leaves to others."""


def room(module: str) -> str:
    """What a module of ours belongs to: jobs.store.usage to store, jobs.run to run."""
    return [*module.split("."), ""][1]


def imports(path: Path) -> Iterator[tuple[int, str]]:
    """Line and module of each import, also inside functions; ``from jobs import run`` is one of jobs.run."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: a relative import"
            inside = node.module == "jobs"
            yield from ((node.lineno, f"jobs.{a.name}" if inside else str(node.module)) for a in node.names)


def forbidden(path: Path) -> Iterator[str]:
    where = path.relative_to(ROOT)
    own = room(".".join(where.with_suffix("").parts).removesuffix(".__init__"))
    if own not in MAY_IMPORT:
        yield f"{where}:1: say in MAY_IMPORT what {own} may import"
        return
    for line, module in imports(path):
        top = module.split(".")[0]
        ours = top == "jobs" and room(module) != own and room(module) not in MAY_IMPORT[own]
        library = top in NOT_FOR.get(own, set())
        foreign = own == "compute" and top not in {"jobs", "polars"} | sys.stdlib_module_names
        if ours or library or foreign:
            yield f"{where}:{line}: {own} must not import {module}"


def lines(pattern: str, *places: str) -> list[str]:
    """Path and line of each match in the code and the SQL of some files and folders."""
    found = [file for place in places for file in (ROOT / place, *sorted((ROOT / place).rglob("*")))]
    files = [file for file in found if file.suffix in (".py", ".sql")]
    assert files
    return [
        f"{file.relative_to(ROOT)}:{number}: {line.strip()}"
        for file in files
        for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), start=1)
        if re.search(pattern, line, re.IGNORECASE)
    ]


def test_every_name_in_these_lists_is_a_module() -> None:
    there = {path.stem for path in JOBS.iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()}
    assert (MAY_IMPORT.keys() | {name for names in MAY_IMPORT.values() for name in names}) - there <= {""}
    assert there - MAY_IMPORT.keys() == {"__init__"}


def test_imports_point_one_way() -> None:
    assert [word for file in sorted(JOBS.rglob("*.py")) for word in forbidden(file)] == []


@pytest.mark.parametrize(
    ("where", "code", "words"),
    [
        ("compute/x.py", "import jobs.store.usage", "jobs/compute/x.py:1: compute must not import jobs.store.usage"),
        ("compute/x.py", "import psycopg", "jobs/compute/x.py:1: compute must not import psycopg"),
        (
            "store/x.py",
            "\ndef f():\n from jobs.compute import costs",
            "jobs/store/x.py:3: store must not import jobs.comp",
        ),
        ("model/x.py", "from jobs import settings", "jobs/model/x.py:1: model must not import jobs.settings"),
        ("look.py", "from jobs import cli", "jobs/look.py:1: look must not import jobs.cli"),
        ("pipeline/x.py", "from jobs import watch", "jobs/pipeline/x.py:1: pipeline must not import jobs.watch"),
        (
            "postgres/x.py",
            "from jobs.compute import costs",
            "jobs/postgres/x.py:1: postgres must not import jobs.compute",
        ),
        (
            "postgres/x.py",
            "from jobs.pipeline import plan",
            "jobs/postgres/x.py:1: postgres must not import jobs.pipeline",
        ),
        (
            "store/x.py",
            "from jobs.postgres import detection",
            "jobs/store/x.py:1: store must not import jobs.postgres",
        ),
        ("attic.py", "import os", "jobs/attic.py:1: say in MAY_IMPORT what attic may import"),
        ("cli.py", "import polars as pl", "jobs/cli.py:1: cli must not import polars"),
    ],
)
def test_a_wrong_import_is_told_by_path_and_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str, code: str, words: str
) -> None:
    monkeypatch.setitem(globals(), "ROOT", tmp_path)
    file = tmp_path / "jobs" / where
    file.parent.mkdir(parents=True)
    file.write_text(code)
    [word] = forbidden(file)
    assert word.startswith(words)


def test_nothing_else_lies_at_the_top() -> None:
    listed = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    done = subprocess.run(listed, cwd=ROOT, capture_output=True, text=True, check=True)
    top = {name.split("/")[0] for name in done.stdout.splitlines() if (ROOT / name).exists()}
    allowed = {"pyproject.toml", "README.md", "Dockerfile", "config", "jobs", "tests", "LICENSE", "CHANGELOG.md"}
    assert {name for name in top if not name.startswith(".")} - allowed == set()


def test_no_query_names_a_secret_of_a_cluster() -> None:
    """The demo aside, which makes a table with both, to show that nobody reads them."""
    places = [str(path.relative_to(ROOT)) for path in JOBS.iterdir() if path.name != "demo"]
    assert lines(r"api_key|kubeconfig", *places) == []


def test_no_query_takes_every_column() -> None:
    assert lines(r"SELECT\s+\*(?! FROM unnest)", "jobs/store", "jobs/postgres", "jobs/pipeline") == []


def test_money_is_never_a_float() -> None:
    """One line aside: it names types that a quantity may have, which is then read as its shortest decimal."""
    pattern = r"\bfloat\(|Float(32|64)|\bdouble precision\b|\.mean\(|\bavg\(|::real\b|::float"
    [named] = lines(pattern, "jobs/compute", "jobs/store", "jobs/postgres", "jobs/pipeline")
    assert named.startswith("jobs/store/credit_source.py:")
    assert named.endswith('BINARIES = ("double precision", "real")')
