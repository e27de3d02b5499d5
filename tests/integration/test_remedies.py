"""What `check` says to do, pasted into psql by somebody in New York: it works, and rows keep their day and value."""

import re
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
import pytest
from commands import HEADER, ask, configured, usage_jobs
from drift_figures import differences, figures
from drift_verdicts import Worlds, drifted, ended
from drift_world import command, do
from drifts import Drift, drifts, named
from role_world import PASSWORD, as_role

WORDS_ONLY = {("timestamptz", "bigint")}
"""What no statement can mend: the remedy is in words."""
LOST = {("text", "uuid")}
"""Types in which the values are others."""


def retyped() -> list[list[Drift]]:
    """One column of each type as every type that it has been met as; each column at most once in a group."""
    groups: list[list[Drift]] = []
    seen = set()
    for drift in drifts("a"):
        what = (drift.kind, drift.how)
        whole = drift.column is None or drift.is_gone or drift.how == "a view" or drift.is_exact
        if not whole and what not in seen and what not in LOST | WORDS_ONLY:
            seen.add(what)
            group = next((g for g in groups if all(other.subject != drift.subject for other in g)), None)
            if group is None:
                groups.append(group := [])
            group.append(drift)
    return groups


def paste(url: str, text: str) -> None:
    """As psql does: statement by statement, up to the first words that are none."""
    with psycopg.connect(url, autocommit=True, options="-c timezone=America/New_York") as connection:
        for each in re.split(r";(?=\s|$)", text)[:-1]:
            connection.execute(each.encode())


def mended(url: str) -> str:
    """All that `check` says to do, once it is done; what is refused is looked at once more then."""
    said = []
    for _ in range(2):
        ran = usage_jobs("check", "--json", url=url)
        found = [each["remedy"] for each in ran.object["findings"] if each["level"] in ("refused", "unwritable")]
        for remedy in found:
            paste(url, remedy)
        said += found
    return "\n".join(said)


@pytest.mark.direct("pastes as the owner")
@pytest.mark.parametrize("group", retyped(), ids=lambda group: f"{group[0]} and {len(group) - 1}")
def test_other_types(worlds: Worlds, group: list[Drift]) -> None:
    with drifted(worlds, group) as url:
        said = mended(url)
        assert [drift.subject for drift in group if f"{drift.column}" not in said] == []
        ran = command("a", url, "run")
        assert ran.code == 3, ended(ran)
        assert differences(figures(url), worlds.expected("a")) == []


@pytest.mark.direct("pastes as the owner")
def test_what_no_statement_can_mend_is_said_in_words(worlds: Worlds) -> None:
    with drifted(worlds, [named("user_pricing_overrides.valid_until", "bigint")]) as url:
        assert "depends on what they mean" in mended(url)
        assert command("a", url, "run").code == 5


@pytest.mark.direct("pastes as the owner")
def test_names_and_defaults(make_database: Callable[..., str]) -> None:
    """Names that need quotes, defaults of the other type, a column that must be filled."""
    url = make_database(ready=True)
    do(
        url,
        """
        ALTER TABLE usage_daily RENAME cpu_hours TO "CPU hours";
        ALTER TABLE usage_daily ALTER "CPU hours" TYPE text, ALTER "CPU hours" SET DEFAULT '0.5';
        ALTER TABLE usage_daily ALTER date TYPE timestamptz USING date::timestamp AT TIME ZONE 'UTC',
          ALTER date SET DEFAULT '2026-06-20 23:00+00';
        ALTER TABLE credit_transactions ADD "by whom" text NOT NULL;
        """,
    )
    with psycopg.connect(url) as connection:
        connection.execute("INSERT INTO usage_daily (id, user_id) VALUES (gen_random_uuid(), 'ada')")
    rates = HEADER + "cpu_hours,2020-01-01,0,0.10,1,list\n"
    configured(Path.cwd(), settings='[meters.cpu_hours]\ncolumn = "CPU hours"\n', rates=rates)
    assert 'ALTER COLUMN "by whom" DROP NOT NULL' in mended(url)
    ask(url, "INSERT INTO usage_daily (id, user_id) VALUES (gen_random_uuid(), 'ben')")
    assert (
        ask(url, 'SELECT "CPU hours" AS hours, date::text FROM usage_daily')
        == [{"hours": Decimal("0.5"), "date": "2026-06-20"}] * 2
    )
    ran = usage_jobs("run", url=url)
    assert ran.code == 0, ran.err


@pytest.mark.direct("the role is its own")
def test_privileges(make_database: Callable[..., str]) -> None:
    """Of a role, a table and a column whose names need quotes; and what it has too much."""
    url = make_database(ready=True)
    role = f"usage jobs {urlsplit(url).path[1:]}"
    do(
        url,
        f'''CREATE ROLE "{role}" LOGIN PASSWORD '{PASSWORD}'; CREATE TABLE "a table" (id serial, "a column" text);
        GRANT USAGE ON SCHEMA public, rollup TO "{role}"; GRANT UPDATE ("a column"), DELETE ON "a table" TO "{role}";
        GRANT USAGE ON SEQUENCE "a table_id_seq" TO "{role}"''',
    )
    try:
        for _ in range(2):
            found = usage_jobs("check", "--json", url=as_role(url, role)).object["findings"]
            for each in found:
                if re.match("GRANT|REVOKE", each["remedy"]):
                    paste(url, each["remedy"])
        missing = [
            each for each in found if re.search("privilege|GRANT|REVOKE", f"{each['expected']} {each['remedy']}")
        ]
        assert [each for each in missing if each["level"] != "ok"] == []
    finally:
        do(url, f'DROP OWNED BY "{role}"; DROP ROLE "{role}"')
