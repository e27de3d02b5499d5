"""Columns, units and sums of exports, and Markdown that shows texts as they are."""

from datetime import date
from decimal import Decimal
from io import BytesIO
from pathlib import Path

import polars as pl
import pytest

from jobs.domain.errors import ConfigError
from jobs.domain.meters import DEFAULTS
from jobs.postgres.export_kinds import ExportColumn, find_kind
from jobs.postgres.export_queries import MonthOfExport
from jobs.reports.export_markdown import escape, open_markdown
from jobs.reports.export_request import BY, ExportRequest, check_request, choose_format
from jobs.reports.export_table import ExportTable, Totals

METERS = list(DEFAULTS.values())
COST = ExportColumn("cost", "money", "currency", adds_up=True)
SHARE = ExportColumn("share", "money", "currency")
COLUMNS = (ExportColumn("currency", "text"), COST, SHARE)
JUNE, JULY = MonthOfExport(date(2026, 6, 1), "USD", True), MonthOfExport(date(2026, 7, 1), "EUR", False)


def test_no_export_has_a_column_twice() -> None:
    for by in BY:
        names = find_kind(by, METERS).names
        assert len(names) == len(set(names))
        assert set(find_kind(by, METERS).key) <= set(names)


def test_a_level_has_a_unit_by_day_and_by_month() -> None:
    units = {by: {column.name: column.unit for column in find_kind(by, METERS).columns} for by in BY}
    assert (units["user"]["storage_gb"], units["user"]["storage_gb_days"]) == ("GB-months", "GB-days")
    assert (units["day"]["storage_gb"], "storage_gb_days" in units["day"]) == ("GB", False)


def test_the_unit_of_an_amount_is_its_currency() -> None:
    assert ExportTable("user", COLUMNS, (JUNE,)).header(COST) == "cost [USD]"
    assert ExportTable("user", COLUMNS, (JUNE, JULY)).header(COST) == "cost [currency]"


def test_sums_are_exact_and_of_one_currency() -> None:
    """More digits than Python's decimals have."""
    large = Decimal("9999999999999999999999999.0000000001")
    rows = pl.DataFrame(
        {"currency": ["USD", "EUR", "USD"], "cost": [large, Decimal(7), large], "share": [Decimal(1)] * 3},
        schema={"currency": pl.String, "cost": pl.Decimal(38, 10), "share": pl.Decimal(38, 10)},
    )
    totals = Totals(COLUMNS)
    totals.add(rows)
    totals.add(rows.clear())
    assert totals.rows == 3
    assert totals.by_currency() == {
        "USD": {"cost": Decimal("19999999999999999999999998.0000000002")},
        "EUR": {"cost": Decimal(7)},
    }


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("<b>&", "&lt;b&gt;&amp;"),
        ("a|b\nc", "a\\|b c"),
        ("\x1b[2J", "U+001B\\[2J"),
        ("\u202eabc", "U+202Eabc"),
        ("[x](http://y)", "\\[x\\](http://y)"),
        ("\u0645\u0631", "\u0645\u0631"),
    ],
)
def test_markdown_shows_the_text(text: str, shown: str) -> None:
    assert escape(text) == shown


def test_a_table_without_rows_has_its_columns() -> None:
    file = BytesIO()
    table = ExportTable("user", COLUMNS, (JUNE,), ("nobody",))
    with open_markdown(file, table) as write:
        write(table.parse(BytesIO()))
    assert file.getvalue().decode().splitlines()[0] == "| currency | cost [USD] | share [USD] |"
    assert file.getvalue().decode().endswith("\nnobody.\n")


def test_a_format_is_given_or_seen() -> None:
    assert choose_format(None, None) == "csv"
    assert choose_format(None, Path("JUNE.XLSX")) == "xlsx"
    assert choose_format("json", Path("june.txt")) == "json"
    for name in ("june", "june.txt", "june.focus"):
        with pytest.raises(ConfigError, match="expected a name that ends with"):
            choose_format(None, Path(name))


def test_focus_takes_users_and_clusters() -> None:
    check_request(ExportRequest(JUNE.month, JULY.month, "", "focus", None, frozenset({"ada"}), frozenset({None})))
