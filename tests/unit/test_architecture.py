"""Which package may import which, and what no package may hold; each finding with its path and line."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
JOBS = ROOT / "jobs"
PURE = {"rating", "credits", "rollups"}
"""Packages of computation alone: frame in, frame out."""
MAY_IMPORT: dict[str, set[str]] = {
    "docs": set(),
    "domain": set(),
    "settings": {"domain"},
    "rating": {"domain"},
    "credits": {"domain"},
    "rollups": {"domain"},
    "postgres": {"docs", "settings", "domain"},
    "pipeline": {"postgres", *PURE, "settings", "domain"},
    "audit": {"pipeline", "postgres", *PURE, "settings", "domain"},
    "reports": {"audit", "pipeline", "postgres", *PURE, "settings", "domain"},
    "service": {"reports", "audit", "pipeline", "postgres", "settings", "domain"},
    "demo": {"audit", "pipeline", "postgres", "settings", "domain"},
    "cli": {"docs", "service", "demo", "reports", "audit", "pipeline", "postgres", "settings", "domain"},
    "": set(),  # jobs/__init__.py is a map, not code
}
"""cli → service, demo → reports → audit → pipeline → postgres, rating, credits, rollups → settings → domain; a
package may always import from itself."""
NOT_FOR = {
    "cli": {"polars", "psycopg"},
    "service": {"polars", "psycopg"},
    "domain": {"psycopg", "connectorx"},
}
"""Libraries that a package leaves to others."""


def package(module: str) -> str:
    """What a module of ours belongs to: jobs.postgres.catalog to postgres."""
    return [*module.split("."), ""][1]


def imports(path: Path) -> Iterator[tuple[int, str]]:
    """Line and module of each import, also inside functions; ``from jobs import settings`` is one of jobs.settings."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: a relative import"
            inside = node.module == "jobs"
            yield from ((node.lineno, f"jobs.{a.name}" if inside else str(node.module)) for a in node.names)


def forbidden(path: Path) -> Iterator[str]:
    where = path.relative_to(ROOT)
    own = package(".".join(where.with_suffix("").parts).removesuffix(".__init__"))
    if own not in MAY_IMPORT:
        yield f"{where}:1: say in MAY_IMPORT what {own} may import"
        return
    for line, module in imports(path):
        top = module.split(".")[0]
        ours = top == "jobs" and package(module) != own and package(module) not in MAY_IMPORT[own]
        library = top in NOT_FOR.get(own, set())
        foreign = own in PURE and top not in {"jobs", "polars"} | sys.stdlib_module_names
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


def test_every_package_says_what_it_may_import() -> None:
    there = {path.stem for path in JOBS.iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()}
    named = MAY_IMPORT.keys() | {name for names in MAY_IMPORT.values() for name in names}
    assert named - {""} == there - {"__init__"}


@pytest.mark.parametrize("of", sorted(MAY_IMPORT))
def test_imports_point_one_way(of: str) -> None:
    files = sorted((JOBS / of).rglob("*.py")) if of else [JOBS / "__init__.py"]
    assert files
    assert [word for file in files for word in forbidden(file)] == []


@pytest.mark.parametrize(
    ("where", "code", "module"),
    [
        ("rating/x.py", "import jobs.postgres.usage_query", "jobs.postgres.usage_query"),
        ("credits/x.py", "import psycopg", "psycopg"),
        ("rollups/x.py", "\ndef f():\n from jobs.credits import lots", "jobs.credits"),
        ("domain/x.py", "from jobs import settings", "jobs.settings"),
        ("audit/x.py", "from jobs import cli", "jobs.cli"),
        ("pipeline/x.py", "from jobs.audit import explain", "jobs.audit"),
        ("postgres/x.py", "from jobs.rating import charges", "jobs.rating"),
        ("postgres/x.py", "from jobs.pipeline import plan", "jobs.pipeline"),
        ("cli/x.py", "import polars as pl", "polars"),
    ],
)
def test_a_wrong_import_is_found_by_path_and_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str, code: str, module: str
) -> None:
    line = code.count("\n") + 1
    assert _found(tmp_path, monkeypatch, where, code) == f"jobs/{where}:{line}: {where[:-5]} must not import {module}"


def test_a_new_package_must_say_what_it_may_import(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = _found(tmp_path, monkeypatch, "attic/x.py", "import os")
    assert found == "jobs/attic/x.py:1: say in MAY_IMPORT what attic may import"


def _found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str, code: str) -> str:
    monkeypatch.setitem(globals(), "ROOT", tmp_path)
    file = tmp_path / "jobs" / where
    file.parent.mkdir(parents=True)
    file.write_text(code)
    [word] = forbidden(file)
    return word


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


def test_every_sqlstate_is_named_in_one_place() -> None:
    found = lines(r'"(?-i:[0-9][0-9A-Z]{4})"', "jobs")
    assert found
    assert {line.partition(":")[0] for line in found} == {"jobs/postgres/errors.py"}


def test_no_query_takes_every_column() -> None:
    assert lines(r"SELECT\s+\*(?! FROM unnest)", "jobs/postgres", "jobs/pipeline") == []


def test_money_is_never_a_float() -> None:
    """One line aside: it names types that a quantity may have, which is then read as its shortest decimal."""
    pattern = r"\bfloat\(|Float(32|64)|\bdouble precision\b|\.mean\(|\bavg\(|::real\b|::float"
    [named] = lines(pattern, *(f"jobs/{of}" for of in (*sorted(PURE), "domain", "postgres", "pipeline")))
    assert named.startswith("jobs/postgres/catalog.py:")
    assert named.endswith('BINARIES = ("double precision", "real")')
