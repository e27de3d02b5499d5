"""The manual's page about the database and the DDL name the same tables and columns, and the DDL carries its words."""

import psycopg
import pytest
from commands import TODAY, ask, usage_jobs

from jobs.domain.meters import DEFAULTS, Meter
from jobs.domain.tables import Table, tables
from jobs.postgres.data_dictionary import METER, METER_COST, METER_DAYS, TableEntry, documented_names, entries

METERS = list(DEFAULTS.values())
TABLES = {table.name: table for table in tables(METERS)}
LONGEST = 140
"""Characters of a meaning."""


def documented(table: Table) -> list[str]:
    """The columns of a table as the page names them, each once."""
    return list(dict.fromkeys(documented_names(entries()[table.name], table.columns, METERS).values()))


def test_every_table_has_a_section_in_the_order_of_the_ddl() -> None:
    assert list(entries()) == list(TABLES)


@pytest.mark.parametrize("name", TABLES)
def test_every_column_is_described_in_the_order_of_the_ddl_and_no_other(name: str) -> None:
    assert list(entries()[name].meanings) == documented(TABLES[name])


@pytest.mark.parametrize("name", TABLES)
def test_texts_are_fit_for_comments(name: str) -> None:
    entry = entries()[name]
    for text in (entry.text, *entry.meanings.values()):
        assert text[-1] == "."
        assert not {"](", "|", "`", "**"} & {text[at : at + size] for size in (1, 2) for at in range(len(text))}
        assert text.isascii(), "a terminal of any encoding shows it"
    assert [text for text in entry.meanings.values() if len(text) > LONGEST] == []


@pytest.mark.parametrize(
    ("columns", "names"),
    [
        (["date", "cpu", "cpu_cost"], ["date", METER, METER_COST]),
        (["disk", "disk_cost", "disk_days"], [METER, METER_COST, METER_DAYS]),
        (["reason", "cpu"], ["reason", METER]),
    ],
)
def test_a_meter_is_described_once(columns: list[str], names: list[str]) -> None:
    """A column of the job's own keeps its meaning where a meter has the same name."""
    meters = [Meter(name, name, "level", "", True, ()) for name in ("cpu", "disk", "reason")]
    entry = TableEntry("", dict.fromkeys(("date", "reason"), ""))
    assert list(documented_names(entry, columns, meters).values()) == names


def comments(url: str, schema: str = "rollup") -> dict[tuple[str, str | None], str | None]:
    """By table and column (None: the table itself) the comment."""
    found = ask(
        url,
        "SELECT c.relname, a.attname, CASE WHEN a.attnum IS NULL THEN obj_description(c.oid, 'pg_class') "
        "ELSE col_description(c.oid, a.attnum) END AS text "
        "FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace LEFT JOIN ("
        "  SELECT attrelid, attname, attnum FROM pg_attribute WHERE attnum > 0 AND NOT attisdropped"
        "  UNION ALL SELECT oid, NULL, NULL FROM pg_class"
        ") AS a ON a.attrelid = c.oid WHERE n.nspname = %s AND c.relkind = 'r'",
        schema,
    )
    return {(row["relname"], row["attname"]): row["text"] for row in found}


def test_every_table_and_column_has_its_comment(ready: str) -> None:
    found = comments(ready)
    assert None not in found.values()
    assert {name for name, _ in found} == set(TABLES)
    assert found["user_monthly", "storage_gb_days"] == entries()["user_monthly"].meanings[METER_DAYS]
    assert found["runs", "kind"] == entries()["runs"].meanings["kind"]
    assert found["credit_draws", None] == entries()["credit_draws"].text


def test_applied_again_it_puts_comments_right(ready: str) -> None:
    before = comments(ready)
    with psycopg.connect(ready) as connection:
        connection.execute("COMMENT ON COLUMN rollup.runs.kind IS 'somebody''s own'")
        connection.execute("COMMENT ON TABLE rollup.runs IS NULL")
    assert usage_jobs("schema", "--apply", url=ready).code == 0
    assert comments(ready) == before


def test_a_schema_and_a_meter_of_any_name(database: str) -> None:
    schema = 'the "job\'s" 100%'
    names = {"USAGE_JOBS_SCHEMA": schema, "USAGE_JOBS_METERS__REASON__COLUMN": "cpu_hours"}
    assert usage_jobs("schema", "--apply", url=database, today=TODAY, **names).code == 0
    found = comments(database, schema)
    assert found["user_daily", "reason"] == entries()["user_daily"].meanings[METER]
    assert found["rejects", "reason"] == entries()["rejects"].meanings["reason"]
    assert None not in found.values()


def test_the_printed_ddl_has_the_comments() -> None:
    printed = usage_jobs("schema")
    assert printed.code == 0
    assert 'COMMENT ON TABLE "rollup"."runs" IS' in printed.out
    assert 'COMMENT ON COLUMN "rollup"."user_daily"."cpu_hours" IS\n  \'Quantity of the meter' in printed.out
