"""The peer in DuckDB with its postgres extension: duck.sql, which computes all results, and writes none of them.

    PYTHONPATH=tests python -m bench.duck URL --first 2026-06-01 --last 2026-06-30 [--steps] [--out DIR]

Nothing is compared with stored rows; user_daily, overrides, rejects, hashes and changes of the billing mode are left
out: it is faster than it would have to be. The extension comes from the wheel duckdb-extension-postgres-scanner.
"""

import importlib.util
import re
from pathlib import Path
from time import perf_counter

import duckdb  # type: ignore[import-not-found, unused-ignore]

from bench.arguments import program
from bench.script import variables

WHEEL = "duckdb_extension_postgres_scanner"
VARIABLE = re.compile(r"(?<![:\w]):([a-z_]+)")
ORDERS = {
    "months": "month, user_id",
    "clusters": "date, cluster_id NULLS LAST",
    "cluster_months": "month, cluster_id NULLS LAST",
    "rows": "id",
}


def main() -> None:
    words = program(__doc__ or "")
    words.add_argument("--steps", action="store_true", help="print what each statement took")
    words.add_argument("--out", type=Path, help="write every result as a file into this folder")
    given = words.parse_args()
    bound = variables("//") | {"first": str(given.first), "last": str(given.last), "url": given.url}
    text = re.sub("--.*", "", Path(__file__).with_suffix(".sql").read_text())
    connection = duckdb.connect()
    connection.execute(f"LOAD '{extension()}'")
    for statement in VARIABLE.sub(lambda found: bound[found[1]], text).split(";\n"):
        started = perf_counter()
        connection.execute(statement)
        if given.steps:
            print(f"{perf_counter() - started:8.2f} s  {' '.join(statement.split())[:60]}")
    if given.out is not None:
        written(connection, given.out)


def extension() -> Path:
    """The file that LOAD takes, inside the installed wheel; imported, the package has nothing to offer."""
    spec = importlib.util.find_spec(WHEEL)
    if spec is None or not spec.submodule_search_locations:
        raise SystemExit("duckdb-extension-postgres-scanner is not installed")
    return next(Path(spec.submodule_search_locations[0]).rglob("*.duckdb_extension"))


def written(connection: duckdb.DuckDBPyConnection, folder: Path) -> None:
    """The results as same.py takes them."""
    folder.mkdir(parents=True, exist_ok=True)
    for section, order in ORDERS.items():
        form = "(FORMAT csv, DELIMITER '\t', HEADER false, NULLSTR '\\N', QUOTE '')"
        connection.execute(f"COPY (FROM {section} ORDER BY {order}) TO '{folder / section}' {form}")


if __name__ == "__main__":
    main()
