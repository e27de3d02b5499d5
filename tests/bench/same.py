"""Whether contenders come to the same cents: their results in one canonical form, hashed.

Each section is a file of lines in one order, tab-separated, amounts and quantities as whole numbers of 10^-10, ``\\N``
for null. From a database (the job's schema ``rollup`` and the script's ``peer`` have the same columns) they are copied;
the peers that do not write to it write the files themselves.
"""

import hashlib
from collections.abc import Mapping
from datetime import date
from itertools import zip_longest
from pathlib import Path

import psycopg

METERS = ("cpu_hours", "gpu_hours", "storage_gb", "feature_store_api_calls", "model_inference_calls")
AMOUNTS = [*(name for meter in METERS for name in (meter, f"{meter}_cost")), "total_cost"]
MONTH = [*AMOUNTS, "credits_free", "credits_purchased", "uncovered", "amount_due"]
DAY = ["cluster_id", *AMOUNTS, "adjustment_cost", "credits_deducted"]
CLUSTERS = "ARRAY(SELECT each FROM unnest(clusters) AS each WHERE each IS NOT NULL ORDER BY each)"
Digests = Mapping[str, str]
"""By section the hash of its lines."""


def _units(names: list[str]) -> str:
    return ", ".join(f"trim_scale({name} * 10000000000)" for name in names)


def _since(table: str, day: str) -> str:
    return f"FROM {table} WHERE {day} >= '{{since}}'"


COMPUTED = {
    "months": f"SELECT month, user_id, days, {_units(MONTH)} {_since('rollup.user_monthly', 'month')} ORDER BY 1, 2",
    "clusters": f"SELECT date, cluster_id, users, {_units([*AMOUNTS, 'credits_deducted'])} "
    f"{_since('rollup.cluster_daily', 'date')} ORDER BY 1, 2",
    "cluster_months": "SELECT month, cluster_id, active_users, max_users, "
    f"{_units([*AMOUNTS, 'credits_deducted', 'cost_per_user'])} {_since('rollup.cluster_monthly', 'month')} "
    "ORDER BY 1, 2",
    "rows": f"SELECT id, {_units(['total_cost', 'credits_deducted'])} {_since('usage_daily', 'date')} ORDER BY 1",
}
"""What everybody computes: months of users, days and months of clusters, and what each row costs and draws."""
WRITTEN = {
    # A line a user, not a day: millions of days would fill the disk. Texts are hashed, whose changes do not cancel.
    "user_daily": f"SELECT user_id, count(*), sum(hashtextextended(ROW(date, {', '.join(DAY)})::text, 0)) "
    f"{_since('rollup.user_daily', 'date')} GROUP BY 1 ORDER BY 1",
    "month_details": f"SELECT month, user_id, row_count, {CLUSTERS}, "
    f"{_units(['storage_gb_days', 'adjustment_cost', 'credits_deducted'])} {_since('rollup.user_monthly', 'month')} "
    "ORDER BY 1, 2",
    "draws": f"SELECT usage_daily_id, user_id, {_units(['sum(free)', 'sum(purchased)'])} "
    f"{_since('rollup.credit_draws', 'usage_date')} GROUP BY 1, 2 ORDER BY 1, 2",
    "accounts": f"SELECT user_id, {_units(['total_used', 'free_credits_used'])} FROM user_credits ORDER BY 1",
    "transactions": f"SELECT user_id, count(*), {_units(['sum(amount)'])} FROM credit_transactions "
    "GROUP BY 1 ORDER BY 1",
}
"""What only those have who write to the database."""
EVERY = COMPUTED | WRITTEN
COSTS = {
    "months": f"SELECT month, user_id, days, {_units(AMOUNTS)} {_since('rollup.user_monthly', 'month')} ORDER BY 1, 2",
    "clusters": f"SELECT date, cluster_id, users, {_units(AMOUNTS)} {_since('rollup.cluster_daily', 'date')} "
    "ORDER BY 1, 2",
    "rows": f"SELECT id, {_units(['total_cost'])} {_since('usage_daily', 'date')} ORDER BY 1",
}
"""What does not depend on earlier draws."""


def of_database(url: str, schema: str, sections: Mapping[str, str], folder: Path, since: date = date.min) -> Digests:
    """The digests of what a database holds of the days from ``since`` on; the lines stay in ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    with psycopg.connect(url) as connection:
        for section, query in sections.items():
            chosen = query.replace("rollup.", f"{schema}.").replace("{since}", str(since))
            text = f"COPY ({chosen}) TO STDOUT"
            with (folder / section).open("wb") as file, connection.cursor().copy(text.encode()) as copy:
                for block in copy:
                    file.write(block)
    return of_files(folder, sections)


def of_files(folder: Path, sections: Mapping[str, str]) -> Digests:
    """The digests of the files in ``folder``."""
    digests = {}
    for section in sections:
        with (folder / section).open("rb") as file:
            digests[section] = hashlib.file_digest(file, "sha256").hexdigest()
    return digests


def check(who: str, found: Digests, folder: Path, expected: Digests, reference: Path) -> None:
    """SystemExit naming ``who``, the section and the first line that differs from the reference's."""
    for section, digest in found.items():
        if digest != expected[section]:
            mine, theirs = _first_difference(folder / section, reference / section)
            raise SystemExit(f"{who}: not the same {section}:\n  {mine}\nbut usage-jobs has\n  {theirs}")


def _first_difference(mine: Path, theirs: Path) -> tuple[str, str]:
    with mine.open() as some, theirs.open() as others:
        for line, other in zip_longest(some, others, fillvalue="(nothing)"):
            if line != other:
                return line.rstrip("\n"), other.rstrip("\n")
    return "", ""
