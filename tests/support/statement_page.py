"""Reads the tables of a statement, and compares them with the tables of the database by plain SQL."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal, localcontext
from html.parser import HTMLParser
from typing import Any

from commands import ask

PARTS = ("thead", "tbody", "tfoot")


@dataclass
class Row:
    """A row of a table: where it is, its class, the text of its cells, and the exact amounts in it."""

    part: str
    kind: str
    cells: list[str] = field(default_factory=list)
    exact: list[Any] = field(default_factory=list)

    @property
    def shown(self) -> Decimal:
        """The last amount as it is shown."""
        return number(self.cells[-1])


def number(text: str) -> Decimal:
    return Decimal(text.replace(",", "").replace("\N{MINUS SIGN}", "-"))


class Page(HTMLParser):
    """The tables of a page by id, and all of its text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tables: dict[str, list[Row]] = {}
        self.text = ""
        self.tags: list[str] = []
        self._table: list[Row] = []
        self._part = ""
        self._in_cell = False
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        named = dict(attrs)
        self.tags.append(tag)
        if tag == "table":
            self._table = self.tables.setdefault(str(named["id"]), [])
        elif tag in PARTS:
            self._part = tag
        elif tag == "tr":
            self._table.append(Row(self._part, named.get("class") or ""))
        elif tag in ("th", "td"):
            self._table[-1].cells.append("")
            self._in_cell = True
        elif tag == "data" and self._in_cell:
            self._table[-1].exact.append(Decimal(str(named["value"])))

    def handle_endtag(self, tag: str) -> None:
        self._in_cell = self._in_cell and tag not in ("th", "td")

    def handle_data(self, data: str) -> None:
        self.text += data
        if self._in_cell:
            self._table[-1].cells[-1] += data

    def lines(self, table: str) -> list[Row]:
        """The rows that are added up, without subtotals and balances."""
        return [row for row in self.tables.get(table, []) if row.part == "tbody" and row.kind != "sum"]

    def total(self, table: str) -> Row:
        [row] = [row for row in self.tables[table] if row.part == "tfoot"]
        return row


def total(values: Iterable[Decimal]) -> Decimal:
    with localcontext(prec=60):
        return sum(values, Decimal(0))


def check_page(html: str, url: str, user: str, month: date) -> Page:
    """All that a page says adds up, and is what the tables hold."""
    page = Page(html)
    [stored] = ask(url, "SELECT * FROM rollup.user_monthly WHERE user_id = %s AND month = %s", user, month)
    cost = stored["total_cost"]
    for table in ("usage", "days", "clusters"):
        if table in page.tables:
            lines, foot = page.lines(table), page.total(table)
            place = 1 if table == "days" else -1
            assert total(row.exact[0] for row in lines) == foot.exact[0] == cost, table
            assert total(number(row.cells[place]) for row in lines) == number(foot.cells[place]), table
            assert number(foot.cells[place]) == round(cost, 2)
            assert all(abs(number(row.cells[place]) - row.exact[0]) <= Decimal("0.01") for row in lines)
        else:
            assert not cost, table
    _check_usage(page, stored)
    _check_parts(page, url, user, month)
    _check_payments(page, stored)
    _check_account(page)
    return page


def _check_usage(page: Page, stored: dict[str, Any]) -> None:
    """Subtotals, as they are shown, are the sums of their lines; and exactly, the stored charges of the meter."""
    shown = exact = Decimal(0)
    subtotals = []
    for row in page.tables.get("usage", []):
        if row.kind == "part":
            shown, exact = shown + row.shown, exact + row.exact[0]
        elif row.kind == "sum":
            name = row.cells[0].removesuffix(", together")
            own = [line for line in page.lines("usage") if line.cells[0].partition(",")[0] == name]
            assert (total(line.shown for line in own), total(line.exact[0] for line in own)) == (
                row.shown,
                row.exact[0],
            )
            subtotals.append(row)
    charges = {value for name, value in stored.items() if name.endswith("_cost")}
    assert all(row.exact[0] in charges for row in subtotals)
    adjustment = [row for row in page.lines("usage") if row.cells[0].startswith("Adjustment")]
    assert [row.exact[0] for row in adjustment] == ([stored["adjustment_cost"]] if stored["adjustment_cost"] else [])


def _check_parts(page: Page, url: str, user: str, month: date) -> None:
    where = "FROM rollup.user_daily WHERE user_id = %s AND date_trunc('month', date)::date = %s GROUP BY"
    days = ask(
        url, f"SELECT date, sum(total_cost), sum(credits_deducted) AS drawn {where} date ORDER BY 1", user, month
    )
    assert [row.exact[0] for row in page.lines("days")] == [row["sum"] for row in days]
    if any(row["drawn"] for row in days):
        assert [row.exact[1] for row in page.lines("days")] == [row["drawn"] for row in days]
    clusters = ask(url, f"SELECT cluster_id, sum(total_cost) {where} cluster_id", user, month)
    assert sorted(row.exact[0] for row in page.lines("clusters")) == sorted(row["sum"] for row in clusters)


def _check_payments(page: Page, stored: dict[str, Any]) -> None:
    if "payments" not in page.tables:
        assert round(stored["total_cost"], 2) == 0
        return
    lines = page.lines("payments")
    assert total(row.exact[0] for row in lines) == total(row.shown for row in lines) == page.total("payments").shown
    names = {
        "Paid from free credits": "credits_free",
        "Paid from purchased credits": "credits_purchased",
        "Not covered by credits": "uncovered",
        "Due": "amount_due",
        "Invoiced separately": "amount_reported",
        "Free of charge": "amount_free",
    }
    found = {names[row.cells[0]]: row.exact[0] for row in lines if row.cells[0] in names}
    assert found == {name: stored[name] for name in names.values() if stored[name]}


def _check_account(page: Page) -> None:
    opening = [row for row in page.tables.get("account", []) if row.kind == "sum"]
    if opening:
        entries = [row.exact[0] for row in page.lines("account") if row.exact]
        assert opening[0].exact[0] + total(entries) == page.total("account").exact[0]
        assert (
            opening[0].shown + total(row.shown for row in page.lines("account") if row.exact)
            == page.total("account").shown
        )
