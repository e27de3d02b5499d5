"""Names that are special to the driver, a format, SQL or the server: columns, schemas, a role, users."""

import json
from collections.abc import Iterator
from contextlib import suppress
from datetime import date
from pathlib import Path

import psycopg
import pytest
from commands import TODAY, Ran, ask, configured, usage_jobs
from prepaid import prepaid, row
from psycopg import sql
from role_world import PASSWORD, as_role, quoted

COLUMN = """%s %(id)s 100% "CPU" {x}:y 'é'"""
LONG = "Storage %" + "g" * 54
"""63 bytes."""
SOURCE, ROLLUP = 'App "1" %s {x} :y, z', "Roll-up's %(month)s É" + "x" * 41
ROLE = 'Job\'s "1" %s {role}:é'
USER = "auth0|%s 100% 'ada' {0} %(users)s"
APRIL = ("--from", "2026-04-01", "--to", "2026-04-30", "--reason", "100% late")


@pytest.fixture
def named(database: str, tmp_path: Path) -> Iterator[str]:
    """A database of such names, whose usage is that of a user of such a name, and its own role in it."""
    assert {len(name.encode()) for name in (LONG, ROLLUP)} == {63}
    prepaid(database, USER, purchased="100")
    row(database, 1, "1", date(2026, 4, 10), user_id=USER, storage_gb=30)
    row(database, 2, "2", user_id=USER)
    settings = f"schema = {json.dumps(ROLLUP)}\nsource_schema = {json.dumps(SOURCE)}\nstart = 2026-04-01\n"
    columns = {"cpu_hours": COLUMN, "storage_gb": LONG}
    for meter in ("cpu_hours", "gpu_hours", "storage_gb", "feature_store_api_calls", "model_inference_calls"):
        settings += f"[meters.{meter}]\ncolumn = {json.dumps(columns.get(meter, meter))}\n"
    configured(tmp_path, settings=settings)
    with psycopg.connect(database) as owner:
        for text, names in (
            ("ALTER TABLE usage_daily RENAME cpu_hours TO {}", (COLUMN,)),
            ("ALTER TABLE usage_daily RENAME storage_gb TO {}", (LONG,)),
            ("ALTER SCHEMA public RENAME TO {}", (SOURCE,)),
        ):
            owner.execute(sql.SQL(text).format(*map(sql.Identifier, names)))
    yield database
    with suppress(psycopg.errors.UndefinedObject):
        for text in ("DROP OWNED BY", "DROP ROLE"):
            ask(database, f"{text} {quoted(ROLE)}")


def done(*words: str, url: str, code: int = 0) -> Ran:
    ran = usage_jobs(*words, url=url, today=TODAY)
    assert ran.code == code, ran.out + ran.err
    return ran


@pytest.mark.thorough
def test_every_command_takes_any_name(named: str) -> None:
    done("schema", "--apply", url=named)
    done("schema", "--role", ROLE, "--apply", url=named)
    ask(named, f"ALTER ROLE {quoted(ROLE)} PASSWORD '{PASSWORD}'")
    url = as_role(named, ROLE)
    done("check", url=url)
    promised = done("run", "--dry-run", "--json", url=url).object["changed"]
    first = done("run", "--json", url=url).object
    assert (first["changed"], first["credits"]["credits_deducted"]) == (promised, "3.3000000000")
    assert done("run", "--json", url=url).object["rows_changed"] == 0
    usage = sql.SQL("UPDATE {}.usage_daily SET {} = 30").format(sql.Identifier(SOURCE), sql.Identifier(COLUMN))
    ask(named, usage.as_string(None))
    done("watch", url=url, code=6)
    plan = done("backfill", *APRIL, "--dry-run", "--json", url=url).object["plan"]
    assert [(change["user_id"], change["cause"]) for change in plan["changes"]] == [(USER, "usage")]
    done("backfill", *APRIL, "--plan", plan["hash"], url=url)
    done("run", url=url)
    for words in (("watch", "--all"), ("reconcile", "--from", "2026-04-01"), ("runs",)):
        done(*words, url=url)
    told = done("explain", "--user", USER, "--month", "2026-04", "--json", url=url).object
    assert told["agrees"]
    table = sql.Identifier(ROLLUP, "user_monthly").as_string(None)
    assert [row["cpu_hours"] for row in ask(named, f"SELECT cpu_hours FROM {table} ORDER BY month")] == [30, 30]


def many_meters(url: str, folder: Path, count: int) -> None:
    """So many columns of usage_daily, each of them a meter, and two rows: one has as much of each as may be."""
    names = [f"m{number}" for number in range(count)]
    text = "".join(f'[meters.{name}]\ncolumn = "{name}"\nkind = "level"\nunit = "GB"\n' for name in names)
    rates = "meter,effective_from,tier_from,price,per,reference\n" + "".join(
        f"{name},2020-01-01,0,0.0123456789,1,\n{name},2020-01-01,10,1234.5678901234,1,\n" for name in names
    )
    configured(folder, settings=f'start = 2026-06-01\ncost = "rated"\n{text}', rates=rates)
    columns = ", ".join(f"ADD COLUMN {name} numeric NOT NULL DEFAULT 99999999.0123456789" for name in names)
    ask(url, f"ALTER TABLE usage_daily {columns}")
    row(url, 1, "1")
    row(url, 2, "1", m0=-1)


def test_as_many_meters_as_a_row_can_hold(database: str, tmp_path: Path) -> None:
    many_meters(database, tmp_path, 101)
    refused = usage_jobs("schema", "--apply", url=database)
    assert (refused.code, "expected at most 100 meters" in refused.err) == (2, True)


@pytest.mark.thorough
def test_all_commands_take_a_hundred_meters(database: str, tmp_path: Path) -> None:
    many_meters(database, tmp_path, 100)
    done("schema", "--apply", url=database)
    done("check", url=database)
    promised = done("run", "--dry-run", "--json", url=database, code=3).object["changed"]
    first = done("run", "--json", url=database, code=3).object
    assert first["changed"] == promised
    ask(database, "UPDATE usage_daily SET m0 = -2 WHERE m0 = -1")
    done("run", url=database, code=3)
    for words in (("watch", "--all"), ("reconcile",), ("explain", "--user", "ada", "--month", "2026-06")):
        done(*words, url=database)
