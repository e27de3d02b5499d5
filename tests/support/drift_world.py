"""A database with a past for the tests that alter it: two months, five users, draws, overrides, rejects, one run.

One run has covered May (and closed it) and June to the 19th. Since then usage was corrected, added and rejected and
credit bought, so that the next run has something to write, and could get it wrong. ``Copies`` hands out copies of it.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import date
from itertools import count
from os import getpid
from pathlib import Path
from urllib.parse import urlsplit
from uuid import UUID

import psycopg
import ways
from commands import RATES, Ran, configured, usage_jobs
from psycopg import sql

BEFORE, TODAY = date(2026, 6, 20), date(2026, 6, 21)
"""The days of the first run and of the one that is tried."""
SHAPE_C = Path(__file__).parents[2] / "config" / "examples" / "shape-c" / "settings.toml"
CARDS = RATES + "instance_hours,2020-01-01,0,0.20,1,list\n"
OPENCOST = ("opencost_cpu_hours", "opencost_gpu_hours", "opencost_ram_gb_hours", "online_storage_gb")
OPENCOST_LATER = ("offline_storage_gb", "network_egress_gb")
METERED = ("cpu_hours", "gpu_hours", "storage_gb", "feature_store_api_calls", "model_inference_calls")
CLUSTERS = {UUID(int=0xC1): "eu", UUID(int=0xC2): "us"}


def options(shape: str) -> tuple[str, ...]:
    """How a command finds the settings of a shape."""
    return ("--config", str(SHAPE_C)) if shape == "c" else ()


def command(shape: str, url: str, *words: str, today: date = TODAY, **environment: str) -> Ran:
    """A command on a world of that shape."""
    return usage_jobs(*words, *options(shape), url=url, today=today, **environment)


def meters(shape: str) -> tuple[str, ...]:
    """The columns of usage_daily that hold quantities."""
    if shape == "c":
        return (*OPENCOST, *OPENCOST_LATER)
    return (*METERED, "instance_hours") if shape == "b" else METERED


class Copies:
    """Templates made on first use, and copies of them; every one is gone at the end."""

    def __init__(self, server: str) -> None:
        self.server = server
        self._admin = psycopg.connect(server, autocommit=True)
        self._names = (f"usage_jobs_drift_{getpid()}_{number}" for number in count(1))
        self._made: list[str] = []
        self._left: list[str] = []
        self._templates: dict[object, str] = {}

    def empty(self, template: str = "template1") -> str:
        """The URL of a new database."""
        name = next(self._names)
        self.run("CREATE DATABASE {} TEMPLATE {} STRATEGY file_copy", name, template)
        self._made.append(name)
        return urlsplit(self.server)._replace(path=f"/{name}").geturl()

    def of(self, key: object, make: Callable[[str], None]) -> str:
        """A copy of what ``make`` makes of an empty database; ``key`` says which."""
        if key not in self._templates:
            url = self.empty()
            make(url)
            ways.left(url)
            self._templates[key] = urlsplit(url).path[1:]
        return self.empty(self._templates[key])

    def drop(self, url: str) -> None:
        """At the next call: dropping what a connection has only just left sleeps for 100 ms."""
        for name in self._left:
            self.run("DROP DATABASE {} WITH (FORCE)", name)
            self._made.remove(name)
        ways.left(url)
        self._left = [urlsplit(url).path[1:]]

    def close(self) -> None:
        for name in self._made:
            self.run("DROP DATABASE {} WITH (FORCE)", name)
        self._admin.close()

    def run(self, statement: str, *names: str) -> None:
        self._admin.execute(sql.SQL(statement).format(*map(sql.Identifier, names)))


@contextmanager
def copies(server: str) -> Iterator[Copies]:
    made = Copies(server)
    try:
        yield made
    finally:
        made.close()


def do(url: str, text: str) -> None:
    """Statements, in one transaction."""
    with psycopg.connect(url) as connection:
        connection.execute(text.encode())


def world(shape: str, path: Path, directory: Path) -> Callable[[str], None]:
    """Makes the world of a shape, whose DDL is ``path``; settings and rates lie in ``directory``."""

    def make(url: str) -> None:
        configured(directory, rates=CARDS)
        do(url, path.read_text(encoding="utf-8") + "\n;" + "\n".join(past(shape)))
        for words, code in ((("schema", "--apply"), 0), (("run",), 3)):
            ran = command(shape, url, *words, today=BEFORE)
            assert ran.code == code, ran.err
        do(url, "\n".join(since(shape)))

    return make


def past(shape: str) -> Iterator[str]:
    yield "".join(
        f"INSERT INTO hopsworks_clusters (id, name) VALUES ('{id_}', '{name}');" for id_, name in CLUSTERS.items()
    )
    yield """INSERT INTO users (id, billing_mode, feature_flags) VALUES
      ('ada', 'prepaid', '{"prepaid": true}'), ('bob', 'prepaid', '{"prepaid": true}'), ('cy', 'postpaid', '{}'),
      ('dan', 'prepaid', '{"prepaid": true}'), ('eve', 'postpaid', '{}');"""
    yield """INSERT INTO user_credits (user_id, free_credits_granted, total_purchased) VALUES
      ('ada', 3, 20), ('bob', 1, 1), ('dan', 0, 40);"""
    if shape != "c":
        yield _overrides("valid_from" if shape == "a" else "active")
    rows = [(user, day) for user in ("ada", "bob", "cy", "dan") for day in (date(2026, 5, 30), *map(_june, (18, 19)))]
    for number, (user, day) in enumerate(rows, start=1):
        yield usage(shape, number, user, day, 1 + number % 4)
    yield usage(shape, 90, "eve", _june(18), -1)


def _overrides(variant: str) -> str:
    """Each would charge something else if one of its columns were not read: the price, the discount, both ends."""
    since = "'2026-06-19'" if variant == "valid_from" else "true"
    never = "'2027-01-01'" if variant == "valid_from" else "false"
    return f"""INSERT INTO user_pricing_overrides
      (id, user_id, resource_type, override_price, discount_percentage, valid_until, created_at, {variant}) VALUES
      ('{UUID(int=0xA1)}', 'cy', 'cpu_hours', 0.05, NULL, '2026-06-20 00:00+00', '2026-05-01 00:00+00', {since}),
      ('{UUID(int=0xA2)}', 'dan', 'gpu_hours', NULL, 50, NULL, '2026-06-18 00:00+00', {since}),
      ('{UUID(int=0xA3)}', 'ada', 'cpu_hours', 7, NULL, NULL, '2026-05-01 00:00+00', {never});"""


def since(shape: str) -> Iterator[str]:
    cpu = meters(shape)[0]
    yield "INSERT INTO users (id, billing_mode) VALUES ('gil', 'prepaid');"
    yield "INSERT INTO user_credits (user_id, free_credits_granted, total_purchased) VALUES ('gil', 1, 3);"
    for number, user in enumerate(("ada", "bob", "cy", "dan", "gil"), start=50):
        yield usage(shape, number, user, _june(20), 3)
    yield usage(shape, 91, "eve", _june(20), -1)
    # Two rows of June, and one of May, which is closed: no run may take it up.
    yield f"UPDATE usage_daily SET {cpu} = {cpu} + 1 WHERE id IN ('{UUID(int=1)}', '{UUID(int=2)}', '{UUID(int=11)}');"
    yield "UPDATE user_credits SET total_purchased = total_purchased + 2 WHERE user_id = 'bob';"
    if shape == "b":
        yield f"UPDATE usage_daily SET reported_to_stripe = true WHERE id IN ('{UUID(int=3)}', '{UUID(int=11)}');"
    if shape != "c":
        yield """INSERT INTO credit_transactions (user_id, type, amount, balance_before, balance_after)
          SELECT user_id, 'purchase', 2, total_purchased + free_credits_granted - total_used - free_credits_used - 2,
            total_purchased + free_credits_granted - total_used - free_credits_used
          FROM user_credits WHERE user_id = 'bob';"""


def _june(day: int) -> date:
    return date(2026, 6, day)


def usage(shape: str, number: int, user: str, day: date, quantity: int) -> str:
    """A row of that quantity of each meter; every fifth has a recorded cost."""
    where = [*(f"'{cluster}'" for cluster in CLUSTERS), "NULL"][number % 3]
    cost = "9.99" if number % 5 == 0 else "NULL"
    names = meters(shape)
    values = (str(quantity), *("3" for _ in names[1:]))
    held = f"'{UUID(int=number)}', '{user}', '{day}', {where}, {cost}, {', '.join(values)}"
    columns = f"id, user_id, date, hopsworks_cluster_id, total_cost, {', '.join(names)}"
    return f"INSERT INTO usage_daily ({columns}) VALUES ({held});"
