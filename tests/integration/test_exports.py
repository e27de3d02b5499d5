"""`usage-jobs export`: each format gives back what the tables hold, texts stay texts, and what is refused."""

import csv
import json
import re
import zipfile
from collections.abc import Callable
from datetime import date
from decimal import Decimal
from io import StringIO
from pathlib import Path
from typing import Any
from uuid import UUID
from xml.etree import ElementTree

import polars as pl
import pytest
from commands import Ran, add_row, applied, ask, usage_jobs

from jobs.reports import export as exporting
from jobs.reports.export_request import BY
from jobs.reports.export_table import ExportTable

CLUSTERS = (UUID(int=0xC1), UUID(int=0xC2))
HOSTILE = (
    "=cmd|' /C calc'!A0",
    "@SUM(1+1)",
    "-5",
    "+49",
    "\t=1",
    "<script>alert('x')</script>",
    'a,"quoted"\nline | pipe',
    "\u202egnp.exe \u0645\u0631\u062d\u0628\u0627",
    "\x1b[31mred",
    "http://example.com/",
    "x" * 5000,
)
NAME = '=HYPERLINK("http://evil")<b>\n' + "n" * 5000
CHARGES = ("total_cost", "cpu_hours_cost", "cpu_hours", "storage_gb", "storage_gb_days", "amount_due")
Make = Callable[[Callable[[str], object]], str]


def worked(url: str) -> None:
    """May and June of some users with hostile ids, whose names are no better; June is closed by a run of July."""
    for number, user in enumerate(HOSTILE):
        for day in (date(2026, 5, 31), date(2026, 6, 1), date(2026, 6, 30)):
            cluster = (None, *CLUSTERS)[number % 3]
            # Of every other user, GB-months end in half a unit of the tenth decimal.
            storage = Decimal("0.0000000015") * number if day.day == 1 else Decimal(9)
            quantities = {"cpu_hours": Decimal(number + 1) / 7, "storage_gb": storage}
            add_row(url, user_id=user, date=day, hopsworks_cluster_id=cluster, **quantities)
    ask(url, "UPDATE users SET name = %s, email = '@' || id", NAME)
    ran = usage_jobs("run", url=url, today=date(2026, 7, 10), USAGE_JOBS_START="2026-05")
    assert ran.code == 0, ran.err


@pytest.fixture
def url(make_prepared: Make) -> str:
    return make_prepared(worked)


def export(url: str, *words: str, **environment: Any) -> Ran:
    month = () if "--month" in words else ("--month", "2026-06")
    return usage_jobs("export", *month, *words, url=url, today=date(2026, 7, 12), **environment)


def written(url: str, file: Path, *words: str) -> dict[str, Any]:
    ran = export(url, "--out", str(file), "--json", *words)
    assert ran.code == 0, ran.err
    return ran.object


def sums(url: str, *columns: str) -> dict[str, Decimal]:
    text = ", ".join(f"sum({column}) AS {column}" for column in columns)
    return ask(url, f"SELECT {text} FROM rollup.user_monthly WHERE month = '2026-06-01'")[0]


def rows_of(text: str) -> list[dict[str, str]]:
    header, *rows = csv.reader(StringIO(text, newline=""))
    return [dict(zip((name.partition(" [")[0] for name in header), row, strict=True)) for row in rows]


# Every format gives the same decimals


def test_csv_is_read_back(url: str, tmp_path: Path) -> None:
    file = tmp_path / "june.csv"
    found = written(url, file)
    expected = sums(url, *CHARGES)
    assert found["rows"] == len(HOSTILE)
    assert {name: Decimal(found["figures"]["USD"][name]) for name in CHARGES} == expected
    text = file.read_bytes().decode()
    values = {row[name] for row in rows_of(text) for name in CHARGES}
    assert [value for value in values if not re.fullmatch(r"\d+(\.\d*[1-9])?", value)] == []
    types = {name: pl.Decimal(38, 10) for name in text.splitlines()[0].split(",") if name.endswith("]")}
    frame = pl.read_csv(file, schema_overrides=types)
    for name, total in expected.items():
        [column] = [each for each in frame.columns if each.startswith(f"{name} [")]
        assert frame[column].sum() == total


def test_parquet_is_read_back(url: str, tmp_path: Path) -> None:
    import pyarrow.parquet as pq

    file = tmp_path / "june.parquet"
    written(url, file, "--by", "user,cluster")
    expected, names = sums(url, *CHARGES[:3]), CHARGES[:3]
    frame = pl.read_parquet(file)
    assert {frame.schema[name] for name in names} == {pl.Decimal(38, 10)}
    assert {name: frame[name].sum() for name in names} == expected
    schema = pq.read_schema(file)
    assert schema.field("storage_gb").metadata == {b"unit": b"GB-months"}
    assert schema.field("total_cost").metadata == {b"unit": b"USD"}
    assert json.loads(schema.metadata[b"usage_jobs"])["months"] == [
        {"month": "2026-06", "currency": "USD", "closed": True}
    ]


def test_pandas_and_duckdb_read_the_same(url: str, tmp_path: Path) -> None:
    pandas, duckdb = (pytest.importorskip(name) for name in ("pandas", "duckdb"))
    expected = sums(url, "total_cost")["total_cost"]
    for form in ("csv", "parquet"):
        file = tmp_path / f"june.{form}"
        written(url, file)
        column = "total_cost [USD]" if form == "csv" else "total_cost"
        frame = pandas.read_csv(file, dtype=str) if form == "csv" else pandas.read_parquet(file)
        assert sum(map(Decimal, frame[column])) == expected
        reader = f"read_csv('{file}', all_varchar=true)" if form == "csv" else f"'{file}'"
        text = f'SELECT sum("{column}"::decimal(38,10)) FROM {reader}'
        assert duckdb.sql(text).fetchone() == (expected,)


def test_json_has_strings_for_amounts(url: str) -> None:
    found = json.loads(export(url, "--format", "json", "--by", "day").out)
    assert {column["name"]: column.get("unit") for column in found["columns"]}["storage_gb"] == "GB"
    assert {type(row["total_cost"]) for row in found["rows"]} == {str}
    assert sum(Decimal(row["total_cost"]) for row in found["rows"]) == sums(url, "total_cost")["total_cost"]
    assert export(url, "--json", "--by", "day").object == found


def _sheets(file: Path) -> list[str]:
    with zipfile.ZipFile(file) as book:
        assert book.testzip() is None
        return [book.read(f"xl/worksheets/sheet{number}.xml").decode() for number in (1, 2)]


def _cells(sheet: str) -> list[dict[str, tuple[str | None, str | None]]]:
    """By row and column: the type, and the value or the formula's value."""
    found = []
    space = "{http://schemas.openxmlformats.org/spreadsheetml/2006/main}"
    for row in ElementTree.fromstring(sheet).iter(f"{space}row"):  # noqa: S314 - our own file
        cells = {}
        for cell in row.iter(f"{space}c"):
            texts = [*cell.iter(f"{space}t"), *cell.iter(f"{space}v")]
            text = texts[0].text if texts else None
            # A character that XML does not have stands there by its number.
            shown = text and re.sub("_x([0-9A-F]{4})_", lambda found: chr(int(found[1], 16)), text)
            cells[re.sub(r"\d", "", cell.attrib["r"])] = (cell.get("t"), shown)
        found.append(cells)
    return found


def test_a_workbook_has_numbers_and_formulas(url: str, tmp_path: Path) -> None:
    file = tmp_path / "june.xlsx"
    written(url, file)
    sheet, notes = _sheets(file)
    header, *rows, totals = [list(row.items()) for row in _cells(sheet)]
    names = {letter: name for letter, (_, name) in header}
    texts = {row["user_id"]: row for row in rows_of(export(url).out)}
    for cells in rows:
        found = {names[letter]: value for letter, (_, value) in cells}
        row = texts[f"'{found['user_id']}" if str(found["user_id"])[:1] in "=+-@\t" else str(found["user_id"])]
        for name in CHARGES:
            assert f"{float(row[name]):.15g}" == f"{float(found[name] or 0):.15g}"
    expected = sums(url, *CHARGES)
    summed = {names[letter]: value for letter, (_, value) in totals if names[letter] in CHARGES}
    assert {name: f"{float(value or 0):.14g}" for name, value in summed.items()} == {
        name: f"{float(value):.14g}" for name, value in expected.items()
    }
    assert sheet.count("<f>SUM(") == sheet.count("<f>")
    assert "<autoFilter" in sheet
    assert 'state="frozen"' in sheet
    assert "hyperlink" not in sheet
    assert "GB-months" in notes
    with zipfile.ZipFile(file) as book:
        assert "USD" in book.read("xl/styles.xml").decode()


# Texts


@pytest.mark.direct(reason="the role may not read names")
def test_hostile_texts_stay_texts(url: str, tmp_path: Path) -> None:
    rows = rows_of(export(url).out)
    guarded = {f"'{text}" if text[0] in "=+-@\t" else text for text in HOSTILE}
    assert {row["user_id"] for row in rows} == guarded
    assert {row["user_name"] for row in rows} == {f"'{NAME}"}
    assert {row["user_email"][:2] for row in rows} == {"'@"}
    assert {row["user_id"] for row in json.loads(export(url, "--format", "json").out)["rows"]} == set(HOSTILE)
    for form in ("parquet", "xlsx"):
        written(url, tmp_path / f"june.{form}")
    assert set(pl.read_parquet(tmp_path / "june.parquet")["user_id"]) == set(HOSTILE)
    cells = _cells(_sheets(tmp_path / "june.xlsx")[0])
    assert {cells[number]["C"] for number in range(1, len(HOSTILE) + 1)} == {("inlineStr", NAME)}


def test_markdown_shows_texts_as_they_are(url: str) -> None:
    text = export(url, "--format", "md").out
    lines = text.splitlines()
    assert len([line for line in lines if line.startswith("|")]) == 2 + len(HOSTILE) + 1
    assert not re.search("<|\x1b|\u202e|\t", text)
    assert {line.replace("\\|", "").count("|") for line in lines if line.startswith("|")} == {lines[0].count("|")}
    assert f"**{sums(url, 'total_cost')['total_cost'].normalize():f}**" in text
    assert "0 in every row: gpu_hours [h]" in text


def test_names_are_left_out(url: str) -> None:
    ran = export(url, "--no-names", "--by", "user,cluster")
    assert ran.out.startswith("month,user_id,cluster_id,currency,")
    assert "example" not in ran.out.replace("http://example.com/", "")


# Which rows


def test_limits(url: str) -> None:
    ran = export(url, "--by", "user,cluster", "--user", "-5", "--user", "+49", "--cluster", "none", "--user=nobody")
    assert [(row["user_id"], row["cluster_id"]) for row in rows_of(ran.out)] == [("'+49", "")]
    assert "no usage in these months: nobody" in ran.err
    ran = export(url, "--by", "day", "--cluster", str(CLUSTERS[0]))
    assert {row["users"] for row in rows_of(ran.out)} == {str(len(HOSTILE[1::3]))}
    ran = export(url, "--user", "nobody")
    assert (ran.code, len(ran.out.splitlines())) == (0, 1)


def test_gb_months_of_a_cluster_are_rounded_as_those_of_a_user(url: str) -> None:
    """Each user has one cluster."""
    found = [
        {row["user_id"]: (row["storage_gb"], row["storage_gb_days"]) for row in rows_of(export(url, "--by", by).out)}
        for by in ("user", "user,cluster")
    ]
    assert found[0] == found[1]
    assert {"0.3", "0.3000000001", "0.3000000002"} & {storage for storage, _ in found[0].values()} == {
        *("0.3", "0.3000000001", "0.3000000002")
    }


def test_a_closed_month_is_always_the_same(url: str) -> None:
    before = {by: export(url, "--by", by).out for by in BY}
    add_row(url, user_id="late", date=date(2026, 7, 9), cpu_hours=1)
    ask(url, "UPDATE hopsworks_clusters SET name = 'renamed'")
    assert usage_jobs("run", url=url, today=date(2026, 7, 11)).code == 0
    assert {by: export(url, "--by", by).out for by in BY} == before
    assert "2026-07 is open: its figures are those up to 2026-07-10" in export(url, "--month", "2026-07").err


def test_months_without_days_are_named(url: str) -> None:
    ask(url, "DELETE FROM rollup.user_daily WHERE date = '2026-06-30' AND user_id = '-5'")
    ran = export(url, "--month", "2026-05", "--to", "2026-06", "--by", "day")
    assert "2026-06 is not complete in this file" in ran.err
    assert "note: 2026-05" not in ran.err
    assert "usage-jobs backfill --from 2026-06-01 --to 2026-06-30" in ran.err
    assert any("not complete" in note for note in export(url, "--by", "day", "--json").object["notes"])
    assert "not complete" not in export(url, "--by", "user").err


def test_currencies_are_not_summed(url: str, tmp_path: Path) -> None:
    ask(url, "UPDATE rollup.months SET currency = 'EUR' WHERE month = '2026-05-01'")
    both = ("--month", "2026-05", "--to", "2026-06")
    found = written(url, tmp_path / "both.xlsx", *both)
    assert found["figures"].keys() == {"EUR", "USD"}
    assert Decimal(found["figures"]["USD"]["total_cost"]) == sums(url, "total_cost")["total_cost"]
    sheet = _sheets(tmp_path / "both.xlsx")[0].replace("&quot;", '"')
    assert [sheet.count(f'"{currency}"') for currency in ("EUR", "USD")] == [sheet.count("<f>SUMIF(") / 2] * 2
    assert "<f>SUM(" not in sheet
    assert "total_cost [currency]" in export(url, *both).out.splitlines()[0]
    assert export(url, "--format", "md", *both).out.count("**total**") == 2


# What is refused


@pytest.mark.parametrize(
    ("words", "found"),
    [
        (("--month", "2026-04"), "--month 2026-04: expected months that runs have covered; covered are 2026-05"),
        (("--to", "2027-01"), "expected months that runs have covered"),
        (("--to", "2026-05"), "--to 2026-05: expected a month on or after --month 2026-06"),
        (("--by", "cluster", "--user", "ada"), "Give --by user,cluster"),
        (("--by", "user", "--cluster", "none"), "Give --by user,cluster"),
        (("--format", "focus", "--by", "user"), "--by: expected none with --format focus"),
        (("--format", "parquet"), "expected --out FILE"),
        (("--format", "xlsx", "--out", "-"), "expected --out FILE"),
        (("--out", "june.txt"), "june.txt: expected a name that ends with .csv"),
        (("--out", "nowhere/june.csv"), "nowhere/june.csv: expected a file in a folder"),
        (("--format", "csv", "--json"), "standard output cannot hold both"),
    ],
)
def test_refused(url: str, words: tuple[str, ...], found: str) -> None:
    ran = export(url, *words)
    assert (ran.code, found in ran.err) == (2, True), ran.err


@pytest.mark.parametrize("form", ["xlsx", "md"])
def test_too_many_rows(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: str) -> None:
    monkeypatch.setitem(exporting.MOST_ROWS, form, 3)
    file = tmp_path / f"june.{form}"
    file.write_text("old")
    ran = export(url, "--out", str(file))
    assert (ran.code, f"at most 3 rows; found {len(HOSTILE)}. Give --format csv or --format parquet" in ran.err) == (
        2,
        True,
    )
    assert file.read_text() == "old"


def test_a_library_that_is_missing(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("jobs.reports.export_request.find_spec", lambda _: None)
    ran = export(url, "--out", "june.xlsx")
    assert (ran.code, "pip install 'usage-jobs[reports]'" in ran.err) == (2, True)


@pytest.mark.parametrize("form", ["csv", "json", "md", "parquet", "xlsx"])
def test_an_interrupted_export_leaves_nothing(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: str
) -> None:
    (folder := tmp_path / "out").mkdir()
    (temporary := tmp_path / "tmp").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(temporary))
    file = folder / f"june.{form}"
    file.write_text("old")
    parse = ExportTable.parse
    blocks: list[object] = []

    def interrupted(table: ExportTable, block: Any) -> pl.DataFrame:
        if blocks:
            raise KeyboardInterrupt
        blocks.append(block)
        return parse(table, block)

    monkeypatch.setattr(ExportTable, "parse", interrupted)
    assert export(url, "--month", "2026-05", "--to", "2026-06", "--out", str(file)).code == 130
    assert (list(folder.iterdir()), file.read_text()) == ([file], "old")
    assert list(temporary.iterdir()) == []


def test_nothing_has_been_done_yet(database: str) -> None:
    ran = export(applied(database))
    assert (ran.code, "no run has been done yet" in ran.err) == (2, True)
