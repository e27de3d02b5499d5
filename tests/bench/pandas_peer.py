"""The peer in pandas and SQLAlchemy: reads usage once and computes all results, and writes none of them.

    PYTHONPATH=tests python -m bench.pandas_peer URL --first 2026-06-01 --last 2026-06-30 [--copy] [--out DIR]

Quantities come as whole numbers of 10^-10, which numpy adds and divides exactly. By default a server-side cursor hands
over rows in batches; with --copy the same connection copies text, and read_csv parses it. Nothing is compared with
stored rows; user_daily, overrides, rejects, hashes and changes of the billing mode are left out: it is faster than it
would have to be.
"""

from io import BytesIO
from pathlib import Path

import pandas as pd  # type: ignore[import-not-found, import-untyped, unused-ignore]
import sqlalchemy as sa  # type: ignore[import-not-found, unused-ignore]

from bench.arguments import program
from bench.frames import Results, computed
from bench.prices import prices

BATCH_ROWS = 200_000
USAGE = """
SELECT id::text AS id, user_id, date - DATE '{first}' AS day, hopsworks_cluster_id::text AS cluster_id,
  coalesce(cpu_hours * 10000000000, 0)::bigint AS cpu_hours, coalesce(gpu_hours * 10000000000, 0)::bigint AS gpu_hours,
  coalesce(storage_gb * 10000000000, 0)::bigint AS storage_gb,
  coalesce(feature_store_api_calls, 0)::bigint AS feature_store_api_calls,
  coalesce(model_inference_calls, 0)::bigint AS model_inference_calls
FROM usage_daily WHERE date BETWEEN '{first}' AND '{last}'
"""
ACCOUNTS = """
SELECT u.id AS user_id, floor(100 * coalesce(a.free_credits_granted - a.free_credits_used, 0))::bigint AS free,
  floor(100 * coalesce(a.total_purchased - a.total_used, 0))::bigint AS bought,
  (100 * coalesce(own.free, 0))::bigint AS own_free, (100 * coalesce(own.purchased, 0))::bigint AS own_purchased
FROM users AS u LEFT JOIN user_credits AS a ON a.user_id = u.id LEFT JOIN (
  SELECT user_id, sum(credits_free) AS free, sum(credits_purchased) AS purchased FROM peer.user_monthly
  WHERE month BETWEEN date_trunc('month', DATE '{first}') AND '{last}' GROUP BY user_id
) AS own ON own.user_id = u.id
WHERE u.billing_mode = 'prepaid'
"""
KINDS = {"day": "int16", "cluster_id": "category", "user_id": "category"} | dict.fromkeys(
    ("cpu_hours", "gpu_hours", "storage_gb", "feature_store_api_calls", "model_inference_calls"), "int64"
)


def main() -> None:
    words = program(__doc__ or "")
    words.add_argument("--copy", action="store_true")
    words.add_argument("--out", type=Path, help="write every result as a file into this folder")
    given = words.parse_args()
    engine = sa.create_engine(given.url.replace("postgresql:", "postgresql+psycopg:", 1))
    days = {"first": given.first, "last": given.last}
    with engine.connect() as connection:
        usage = (_copied if given.copy else _streamed)(connection, USAGE.format(**days))
        accounts = pd.read_sql(sa.text(ACCOUNTS.format(**days)), connection)
    results = computed(usage, accounts, given.first, prices())
    if given.out is not None:
        written(results, given.out)


def _streamed(connection: sa.Connection, query: str) -> pd.DataFrame:
    """Batches from a server-side cursor: texts become codes at once, while a batch is small."""
    options = {"stream_results": True, "max_row_buffer": BATCH_ROWS}
    rows = connection.execution_options(**options).execute(sa.text(query))
    names = list(rows.keys())
    batches = [
        pd.DataFrame(dict(zip(names, zip(*part, strict=True), strict=True))).astype(KINDS)
        for part in rows.partitions(BATCH_ROWS)
    ]
    for text in ("user_id", "cluster_id"):
        codes = pd.api.types.union_categoricals([batch[text] for batch in batches])
        for batch in batches:
            batch[text] = batch[text].cat.set_categories(codes.categories)
    return pd.concat(batches, ignore_index=True)


def _copied(connection: sa.Connection, query: str) -> pd.DataFrame:
    """The same rows as text, by the driver's own COPY under SQLAlchemy's connection."""
    text = BytesIO()
    driver = connection.connection.driver_connection
    assert driver is not None
    with driver.cursor() as cursor, cursor.copy(f"COPY ({query}) TO STDOUT (FORMAT csv, HEADER)") as copy:
        for block in copy:
            text.write(block)
    text.seek(0)
    return pd.read_csv(text, dtype=KINDS | {"id": "str"})


def written(results: Results, folder: Path) -> None:
    """The results as same.py takes them."""
    folder.mkdir(parents=True, exist_ok=True)
    for section, frame in results.items():
        frame.to_csv(folder / section, sep="\t", header=False, index=False, na_rep="\\N", lineterminator="\n")


if __name__ == "__main__":
    main()
