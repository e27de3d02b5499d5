"""Six users with six rows each, run up to DAY: where the tests of single changes begin.

ada is prepaid and her credit has run out; bob is prepaid, rich, and has a price of his own; cyd and dee are postpaid;
eve is prepaid and has no account; all of fay's rows are rejected. May and June are open.

A database may hold many teams of such users, for many changes side by side. Names of the first team, number 0, are as
above, and its ids end in few digits; those of another have its number in them: ``of_team`` rewrites SQL.
"""

import re
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from uuid import UUID

import psycopg
from commands import HEADER, configured
from conftest import Databases
from job_runs import Runner

DAY = date(2026, 6, 20)
USERS = ("ada", "bob", "cyd", "dee", "eve", "fay")
EVERYBODY = frozenset(USERS)
NEW = "new"
"""Whom the database does not know yet."""
NORTH, SOUTH = UUID(int=0xA1), UUID(int=0xA2)
OVERRIDE = UUID(int=0xB0)
"""The price of his own that bob has for cpu_hours from 5 June on."""
TEAM_IDS = 0x10000
"""The ids of a team are below this number, and end in so many hexadecimal digits."""
RATES = HEADER + (
    "cpu_hours,2020-01-01,0,0.10,1,list\n"
    "cpu_hours,2020-01-01,10,0.07,1,list\n"
    "gpu_hours,2020-01-01,0,0.50,1,list\n"
    "storage_gb,2020-01-01,0,0.30,1,list\n"
    "feature_store_api_calls,2020-01-01,0,0.10,1000,list\n"
    "model_inference_calls,2020-01-01,0,1.00,1000,list\n"
)
DAYS = {
    "a": ("2026-05-30", "2026-05-31", "2026-06-01", "2026-06-10", "2026-06-10", "2026-06-19"),
    "b": ("2026-05-30", "2026-05-31", "2026-06-01", "2026-06-10", "2026-06-11", "2026-06-19"),
}
"""Shape B has one row a user and day."""
ROWS = """
INSERT INTO usage_daily (id, user_id, date, hopsworks_cluster_id, cpu_hours, gpu_hours, storage_gb,
  feature_store_api_calls, model_inference_calls, total_cost, credits_deducted)
VALUES (%(id)s, %(user)s, %(day)s, %(cluster)s, %(cpu)s, 1, 20, %(reads)s, %(calls)s, %(cost)s, 0)
"""


def row_id(user: str, number: int) -> UUID:
    """The id of a user's row, of 1 to 6, in the first team."""
    return UUID(int=(USERS.index(user) + 1) * 0x100 + number)


def name_in_team(user: str, team: int) -> str:
    return f"{user}{team or ''}"


def id_in_team(id_: UUID, team: int) -> UUID:
    return UUID(int=team * TEAM_IDS + id_.int)


def of_team(text: str, team: int) -> str:
    """SQL about users and ids of the first team, about those of another."""
    text = re.sub(f"'({'|'.join((*USERS, NEW))})'", lambda found: f"'{name_in_team(found[1], team)}'", text)
    return re.sub("'(0{8}-[0-9a-f-]{27})'", lambda found: f"'{id_in_team(UUID(found[1]), team)}'", text)


def fill(url: str, shape: str, teams: int) -> None:
    """Row 2 has a cost, row 3 a cost of 0; row 4 has a null quantity, row 5 a quantity of 0; row 6 has no cluster."""
    start = "valid_from" if shape == "a" else "created_at"
    with psycopg.connect(url) as link:
        for team in range(teams):
            for cluster, name in ((NORTH, "north"), (SOUTH, "south")):
                values = [id_in_team(cluster, team), name]
                link.execute("INSERT INTO hopsworks_clusters (id, name) VALUES (%s, %s)", values)
            for user in USERS:
                mode = "prepaid" if user in {"ada", "bob", "eve"} else "postpaid"
                text = "INSERT INTO users (id, billing_mode, feature_flags) VALUES (%s, %s, '{\"prepaid\": true}')"
                link.execute(text, [name_in_team(user, team), mode])
            link.cursor().executemany(ROWS, [*_rows(shape, team)])
            for user, purchased, granted in (("ada", 4, 1), ("bob", 1000, 0)):
                text = "INSERT INTO user_credits (user_id, total_purchased, free_credits_granted) VALUES (%s, %s, %s)"
                link.execute(text, [name_in_team(user, team), purchased, granted])
            text = f"INSERT INTO user_pricing_overrides (id, user_id, resource_type, override_price, {start})"
            values = [id_in_team(OVERRIDE, team), name_in_team("bob", team)]
            link.execute(f"{text} VALUES (%s, %s, 'cpu_hours', 0.05, '2026-06-05')".encode(), values)


def _rows(shape: str, team: int) -> Iterator[dict[str, object]]:
    """The usage rows of a team."""
    for user in USERS:
        for number, day in enumerate(DAYS[shape], 1):
            cluster = [NORTH, SOUTH, NORTH, SOUTH, NORTH, None][number - 1]
            yield {
                "id": id_in_team(row_id(user, number), team),
                "user": name_in_team(user, team),
                "day": day,
                "cluster": cluster and id_in_team(cluster, team),
                "cpu": -1 if user == "fay" else 3 * number,
                "reads": 1000 + 100 * number,
                "calls": {4: None, 5: 0}.get(number, 700),
                "cost": {2: "1.50", 3: "0"}.get(number),
            }


def runner(folder: Path, *, settings: str = "close_after_days = 365\n", rates: str = RATES, **env: str) -> Runner:
    """The job with these settings; both months stay open unless they say otherwise."""
    configured(folder, settings=settings, rates=rates)
    return Runner(folder / "config" / "settings.toml", {f"USAGE_JOBS_{name}": value for name, value in env.items()})


def made(databases: Databases, shape: str, job: Runner, teams: int = 1) -> str:
    """The URL of a new database with so many teams of the six users, run up to DAY."""
    url = databases.create(shape)
    fill(url, shape, teams)
    job.apply_schema(url)
    job.run(url, DAY)
    return url
