"""The way that TEST_WAY names is the one that the job goes: else a suite that passes another way proves nothing."""

from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
import pytest
import ways
from commands import add_usage, applied, ask, usage_jobs
from ways import WAY, job_url, owner_url

from jobs.settings import Settings, load


def settings() -> Settings:
    return load(None, {}, Path.cwd())


@pytest.fixture
def ready(database: str) -> str:
    add_usage(database)
    return applied(database)


def test_the_job_goes_the_way_that_is_named(ready: str) -> None:
    told = usage_jobs("check", "--json", url=ready).object
    found = {finding["subject"]: finding["found"] for finding in told["findings"]}
    here, there = urlsplit(ready), urlsplit(f"//{told['address']}")
    assert found["connection"] == ("transaction pooler" if WAY == "pooler" else "direct")
    assert (here.port == there.port) == (WAY != "pooler")
    assert (here.username == there.username) == (WAY != "role")
    assert there.path == here.path


@pytest.mark.skipif(WAY != "role", reason="only with TEST_WAY=role")
def test_the_role_has_what_it_needs_and_no_more(ready: str) -> None:
    findings = usage_jobs("check", "--json", url=ready).object["findings"]
    assert [f for f in findings if f["subject"].startswith(("role ", "privileges on"))] == []
    with psycopg.connect(job_url(ready, settings)) as connection:
        rows = connection.execute("SELECT rolsuper OR rolbypassrls FROM pg_roles WHERE rolname = current_user")
        assert rows.fetchone() == (False,)
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute("SELECT api_key FROM hopsworks_clusters")
    walls = ask(ready, "SELECT relname FROM pg_class WHERE relnamespace IN ('public'::regnamespace, "
                "'rollup'::regnamespace) AND relkind = 'r' AND NOT relrowsecurity")  # fmt: skip
    assert walls == []


@pytest.mark.skipif(WAY != "role", reason="only with TEST_WAY=role")
def test_the_role_is_granted_anew_what_has_changed(ready: str) -> None:
    assert usage_jobs("run", url=ready).code == 0
    ask(ready, "ALTER TABLE usage_daily DROP COLUMN cpu_hours")
    ask(ready, "ALTER TABLE usage_daily ADD COLUMN cpu_hours numeric DEFAULT 2")
    assert usage_jobs("run", url=ready).code == 0
    assert usage_jobs("run", url=ready, USAGE_JOBS_COST="rated", USAGE_JOBS_START="2026-06").code == 0
    ask(ready, "REVOKE ALL ON ALL TABLES IN SCHEMA rollup FROM " + str(urlsplit(job_url(ready, settings)).username))
    assert usage_jobs("reconcile", url=ready).code == 0


@pytest.mark.direct("asks for the other way")
def test_a_test_that_is_marked_stays_direct(ready: str) -> None:
    assert job_url(ready, settings) == owner_url(ready) == ready


def test_what_is_not_the_suites_own_server_stays_as_it_is(server_url: str, make_database: Callable[..., str]) -> None:
    other = urlsplit(make_database())._replace(netloc="somebody:pw@127.0.0.1:1").geturl()
    assert job_url(other, settings) == other
    assert (urlsplit(server_url).netloc in ways._servers) == (WAY != "direct")
