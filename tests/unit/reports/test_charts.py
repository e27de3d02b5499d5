"""Charts of pages: one SVG text without script, address or random id, with a text alternative."""

import re
from collections.abc import Callable
from datetime import date, timedelta
from decimal import Decimal
from importlib.util import find_spec
from itertools import pairwise
from xml.etree import ElementTree

import pytest

from jobs.reports.charts import draw_bars, draw_days, draw_stacked_days

pytestmark = pytest.mark.skipif(find_spec("pygal") is None, reason="needs the extra [reports]")


FIRST = date(2026, 11, 1)
NAMES = ("<script>alert(1)</script>", '" onload="x', "\u202egnp.exe", "=1+1", "x" * 5000, "a\x01b")
SVG = "{http://www.w3.org/2000/svg}"


def _parse(text: str) -> ElementTree.Element:
    return ElementTree.fromstring(text)  # noqa: S314 - our own text


def _days(*amounts: int) -> list[tuple[date, Decimal]]:
    return [(FIRST + timedelta(number), Decimal(amount)) for number, amount in enumerate(amounts)]


DRAWINGS: dict[str, Callable[[], str]] = {
    "days": lambda: draw_days(_days(3, 0, 12345), "Cost", "EUR"),
    "no days": lambda: draw_days([], "Cost", "EUR"),
    "one day of nothing": lambda: draw_days(_days(0), "Cost", "EUR"),
    "parts": lambda: draw_stacked_days({name: _days(1, 2) for name in NAMES}, "Cost", "EUR"),
    "bars": lambda: draw_bars([(name, Decimal(number)) for number, name in enumerate(NAMES)], "Cost", "EUR"),
    "negative bars": lambda: draw_bars([("a", Decimal(-5)), ("b", Decimal("98765432109876543210.98"))], "Cost", "EUR"),
    "no bars": lambda: draw_bars([], "Cost", "EUR"),
}


@pytest.mark.parametrize("name", DRAWINGS)
def test_is_a_plain_image(name: str) -> None:
    """The same text each time; no script, no address, no id, no control character; a role and a title."""
    text = DRAWINGS[name]()
    assert text == DRAWINGS[name]()
    root = _parse(text)
    kinds = {node.tag.removeprefix(SVG) for node in root.iter()}
    assert kinds <= {"svg", "title", "g", "rect", "path", "text"}
    assert root.get("role") == "img"
    assert root[0].tag == f"{SVG}title"
    assert (root[0].text or "").startswith("Cost, in EUR: ")
    assert "://" not in text.replace("http://www.w3.org/2000/svg", "")
    assert {attribute for node in root.iter() for attribute in node.attrib}.isdisjoint({"id", "href", "style"})
    assert not re.search("[\x00-\x08\u202a-\u202e]", text)
    assert max(len(node.text or "") for node in root.iter(f"{SVG}text")) <= 30
    assert len(text) < 10_000


def test_columns_have_the_heights_of_the_amounts() -> None:
    """Days without an amount are drawn as nothing between the others."""
    days = [point for point in _days(300, 0, 100) if point[1]]
    rects = list(_parse(draw_days(days, "Cost", "EUR")).iter(f"{SVG}rect"))
    assert len(rects) == 3
    heights = [float(rect.get("height", "0")) for rect in rects]
    assert heights[1] == 0
    assert heights[0] == pytest.approx(3 * heights[2], abs=0.3)


def test_parts_stand_on_each_other_and_are_named() -> None:
    root = _parse(draw_stacked_days({"eu": _days(10), "us": _days(20)}, "Cost", "EUR"))
    low, high, *legend = root.iter(f"{SVG}rect")
    assert [rect.get("class") for rect in (low, high, *legend)] == ["part-0", "part-1", "part-0", "part-1"]
    assert float(high.get("y", "")) + float(high.get("height", "")) == pytest.approx(float(low.get("y", "")), abs=0.2)
    assert {"eu", "us"} <= {node.text for node in root.iter(f"{SVG}text")}
    with pytest.raises(ValueError, match="7 parts"):
        draw_stacked_days({str(number): _days(1) for number in range(7)}, "Cost", "EUR")


def test_bars_are_in_the_order_of_the_rows_with_their_amounts() -> None:
    rows = [("largest", Decimal("30.005")), ("middle", Decimal(20)), ("least", Decimal(-10))]
    root = _parse(draw_bars(rows, "Cost", "EUR"))
    places = {node.text: float(node.get("y", "")) for node in root.iter(f"{SVG}text")}
    for texts in (("largest", "middle", "least"), ("30.00", "20.00", "-10.00")):
        assert all(places[above] < places[below] for above, below in pairwise(texts))
    exact = Decimal("98765432109876543210.98")
    assert ">98,765,432,109,876,543,210.98<" in draw_bars([("a", exact)], "Cost", "EUR")
    assert root[0].text == "Cost, in EUR: largest to least; highest 30.00, largest"


def test_axis_has_short_labels() -> None:
    text = draw_days(_days(12_345_678, 1), "Cost", "EUR")
    assert {"4M", "8M", "12M"} <= set(re.findall(">([^<]+)</text>", text))
