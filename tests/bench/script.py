"""The peer that does everything in the database: script.sql, as psql would run it.

    PYTHONPATH=tests python -m bench.script URL --first 2026-06-01 --last 2026-06-30 [--steps]

It need not handle overrides, rejects, changes of the billing mode or the cost mode, hashes, or be killed: it is faster
than it would have to be. Prints the rows that it has written, as JSON.
"""

import json
import os
import re
from pathlib import Path
from time import perf_counter

import psycopg

from bench.arguments import program
from bench.prices import flow_sql, prices, storage_sql

VARIABLE = re.compile(r"(?<![:\w]):('?)([a-z_]+)\1")


def main() -> None:
    words = program(__doc__ or "")
    words.add_argument("--steps", action="store_true", help="print what each statement took")
    given = words.parse_args()
    text = Path(__file__).with_suffix(".sql").read_text()
    workers = max(1, min(8, (os.cpu_count() or 2) - 1))  # beside the process that leads them
    bound = variables() | {"first": str(given.first), "last": str(given.last), "workers": str(workers)}
    filled = VARIABLE.sub(lambda found: found[1] + bound[found[2]] + found[1], re.sub("--.*", "", text))
    written = 0
    with psycopg.connect(given.url, autocommit=True) as connection:
        for statement in filled.split(";\n"):
            started = perf_counter()
            done = connection.execute(statement.encode())
            if (done.statusmessage or "").startswith(("INSERT", "UPDATE", "DELETE")):
                written += done.rowcount
            if given.steps:
                print(f"{perf_counter() - started:8.2f} s  {' '.join(statement.split())[:60]:60}  {done.statusmessage}")
    print(json.dumps({"rows_changed": written}))


def variables(divide: str = "/") -> dict[str, str]:
    """The prices as expressions of the columns of script.sql and duck.sql."""
    card = prices()
    flows = {f"{meter}_cost": flow_sql(price, meter, divide) for meter, price in card.flows.items()}
    upto, before = (storage_sql(card.storage, total) for total in ("(storage_gb + storage_before)", "storage_before"))
    return flows | {"storage_upto": upto, "storage_before": before, "per_storage": str(card.per_storage)}


if __name__ == "__main__":
    main()
