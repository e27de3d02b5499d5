"""Charts as inline SVG for pages: columns by day, and horizontal bars.

pygal computes the shapes. Its script, style sheet, tooltips and random ids are left out: the same figures always give
the same text. Colours are attributes, for programs that know no style sheet; ``templates/style.css`` replaces them, for
dark pages. Heights and lengths are floats, because they are only drawn.
"""

import re
import sys
from collections.abc import Callable, Mapping, Sequence
from datetime import date, timedelta
from decimal import Decimal
from functools import partial
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

from jobs.domain.wording import format_figure
from jobs.reports.pages import cut, replace_controls

if TYPE_CHECKING:
    from markupsafe import Markup

WIDTH, HEIGHT, MARGIN, FONT = 480, 230, 4, 14
"""In units of the drawing: a phone has 350 pixels for its width, a large screen 580."""
BAR, LEGEND_LINE = 26, 21
"""Heights of a horizontal bar with its gap, and of a line of the legend."""
CHARACTER = 0.6 * FONT
"""The width by which pygal reserves room for texts."""
LONGEST_LABEL = 24
COLOURS = ("#1d4e7e", "#f0c66b", "#4f9a94", "#e4e4e4", "#8c5a8f", "#a9c5e6")
"""Of the parts of a column, from the bottom. Neighbours differ in lightness, so that they differ in grey, too."""
TEXT, LINE = "#1c1f23", "#8a8f96"
_SHAPES = ("transform", "x", "y", "width", "height", "d")
_LEFT_OUT = ("background", "tooltip-overlay", "titles")


def draw_days(points: Sequence[tuple[date, Decimal]], title: str, unit: str) -> "Markup":
    """Returns a column chart of amounts by day as SVG. Days between the first and the last without an amount are 0.

    - ``points``: a day and its amount
    - ``title``: says what is drawn; screen readers read it, with the first and last day and the highest amount
    - ``unit``: of the amounts, such as EUR
    """
    return draw_stacked_days({"": points}, title, unit)


def draw_stacked_days(parts: Mapping[str, Sequence[tuple[date, Decimal]]], title: str, unit: str) -> "Markup":
    """Returns the chart of ``draw_days`` with columns made of named ``parts``, the first at the bottom, and a legend.

    Raises ValueError for more parts than there are colours.
    """
    if len(parts) > len(COLOURS):
        raise ValueError(f"{len(parts)} parts of a column; at most {len(COLOURS)} can be told apart")
    amounts = {name: dict(points) for name, points in parts.items()}
    days = _fill_days([day for points in amounts.values() for day in points])
    totals = {day: sum((points.get(day, Decimal()) for points in amounts.values()), Decimal()) for day in days}
    lines = (len(parts) + 1) // 2 if len(parts) > 1 else 0
    # pygal reserves no room for the last line of the legend where only its first column has an entry.
    bottom = MARGIN + (LEGEND_LINE if lines and len(parts) % 2 else 0)
    chart = _make_chart("StackedBar", HEIGHT + lines * LEGEND_LINE, show_legend=bool(lines), margin_bottom=bottom)
    chart.value_formatter = _axis_format(max(map(abs, totals.values()), default=Decimal()))
    chart.x_labels = [_label_day(day, days) for day in days]
    chart.x_labels_major = [_label_day(day, days) for day in days if day.day % 5 == 0 or day == days[0]]
    for name, points in amounts.items():
        chart.add(cut(name, LONGEST_LABEL), [float(points.get(day, 0)) for day in days])
    return _finish(chart, _describe(title, unit, totals, lambda day: day.isoformat()))


def draw_bars(rows: Sequence[tuple[str, Decimal]], title: str, unit: str) -> "Markup":
    """Returns horizontal bars as SVG, the first row at the top, each with its amount.

    - ``rows``: a name and its amount; a long name is cut
    - ``title``, ``unit``: as for ``draw_days``
    """
    chart = _make_chart("HorizontalBar", BAR * max(len(rows), 2) + 2 * MARGIN, show_x_labels=False, print_values=True)
    amounts = [amount for _, amount in rows]
    # Negative amounts are written to the left of their bars, which takes room from the names.
    most = LONGEST_LABEL if min(amounts, default=Decimal()) >= 0 else LONGEST_LABEL // 2
    labels = [cut(name, most) or " " for name, _ in rows]
    chart.range = _find_range(amounts, max(map(len, labels), default=0))
    chart.x_labels = labels[::-1]  # pygal begins at the bottom
    # The text beside a bar is made of the amount, not of its float.
    texts = [partial(_ignore_value, format_figure(amount)) for amount in amounts]
    bars = [{"value": float(amount), "formatter": text} for amount, text in zip(amounts, texts, strict=True)]
    chart.add("", bars[::-1])
    return _finish(chart, _describe(title, unit, dict(rows), str))


def _ignore_value(text: str, _value: float) -> str:
    return text


def _find_range(amounts: Sequence[Decimal], longest_label: int) -> tuple[float, float]:
    """The lowest and highest value of the axis of bars: beside the longest bar there is room for its amount."""
    low, high = float(min(amounts, default=Decimal())), float(max(amounts, default=Decimal()))
    low, high = min(low, 0.0), max(high, 0.0)
    figure = CHARACTER * max((len(format_figure(amount)) for amount in amounts), default=0) + FONT
    width = WIDTH - 2 * MARGIN - FONT - CHARACTER * longest_label
    sides = 2 if low < 0 else 1
    room = (high - low or 1.0) * figure / max(width - sides * figure, FONT)
    return (low - room if low < 0 else low), high + room


def _fill_days(days: Sequence[date]) -> list[date]:
    if not days:
        return []
    first, last = min(days), max(days)
    return [first + timedelta(number) for number in range((last - first).days + 1)]


def _label_day(day: date, days: Sequence[date]) -> str:
    is_one_month = (days[0].year, days[0].month) == (days[-1].year, days[-1].month)
    return str(day.day) if is_one_month else f"{day:%m-%d}"


def _axis_format(highest: Decimal) -> Callable[[float], str]:
    """A function that labels an axis: from 10,000 on in k, M or G, so that labels stay short."""
    sizes = ((10**9, "G"), (10**6, "M"), (10**4, "k"))
    size, letter = next((each for each in sizes if highest >= each[0]), (1, ""))
    by = 1000 if letter == "k" else size
    return lambda value: f"{value / by:.4g}{letter if value else ''}"


def _describe(title: str, unit: str, amounts: Mapping[Any, Decimal], name: Callable[[Any], str]) -> str:
    """The text alternative: what is drawn, its range and its highest amount."""
    if not amounts:
        return f"{title}, in {unit}: no data"
    first, *_, last = [*amounts, *list(amounts)[-1:]]
    highest = max(amounts, key=amounts.__getitem__)
    ends, top = ([cut(name(key), LONGEST_LABEL) for key in keys] for keys in ((first, last), (highest,)))
    return f"{title}, in {unit}: {ends[0]} to {ends[1]}; highest {format_figure(amounts[highest])}, {top[0]}"


def import_pygal() -> Any:
    """Returns the library, without the finder of plugins that it adds to Python's own: with it, each later import of
    a module that is missing warns."""
    import pygal

    sys.meta_path[:] = [finder for finder in sys.meta_path if not isinstance(finder, pygal.PluginImportFixer)]
    return pygal


def _make_chart(kind: str, height: int, **options: Any) -> Any:
    pygal = import_pygal()
    from pygal.style import Style

    texts = ("label", "major_label", "value", "legend", "no_data")
    style = Style(**{f"{text}_font_size": FONT for text in texts})
    options = {"show_legend": False, "margin_bottom": MARGIN} | options
    always = {"js": [], "css": [], "truncate_label": -1, "truncate_legend": -1, "no_data_text": "no data"}
    always["print_values_position"] = "top"
    legend = {"legend_at_bottom": True, "legend_at_bottom_columns": 2}
    is_vertical = kind == "StackedBar"
    sizes = {"width": WIDTH, "height": height, "margin": MARGIN, "max_scale": 6, "show_minor_x_labels": not is_vertical}
    return getattr(pygal, kind)(style=style, **always, **legend, **sizes, **options)


def _finish(chart: Any, text: str) -> "Markup":
    """The chart as SVG with ``text`` as its text alternative."""
    from markupsafe import Markup

    drawn = chart.render_tree()
    root = _copy(drawn, "", "")
    root.attrib = {
        "xmlns": "http://www.w3.org/2000/svg",
        "viewBox": drawn.get("viewBox"),
        "class": "chart",
        "role": "img",
    }
    root.attrib |= {"font-family": "sans-serif", "font-size": str(FONT)}
    title = ElementTree.Element("title")
    title.text = replace_controls(text)
    root.insert(0, title)
    return Markup(ElementTree.tostring(root, encoding="unicode"))  # noqa: S704 - ElementTree has escaped all texts


def _copy(node: Any, series: str, axis: str) -> ElementTree.Element:
    """A copy of the shapes and texts of pygal's ``node``.

    ``series``: the number of the series that it belongs to; ``axis``: x or y, where it belongs to one.
    """
    kind = node.get("class") or ""
    number = re.search(r"\b(?:serie|color)-(\d+)", kind)
    series = number[1] if number else series
    on_axis = re.match(r"axis ([xy])\b", kind)
    axis = on_axis[1] if on_axis else axis
    copy = ElementTree.Element(node.tag, {name: _round(node.get(name)) for name in _SHAPES if node.get(name)})
    copy.attrib |= _style(node, kind, series, axis)
    if node.tag == "text":
        copy.text = replace_controls(node.text or "")
    for child in node:
        if child.tag in ("g", "text", "rect") or (child.tag == "path" and _is_line_seen(child, axis)):
            inner = _copy(child, series, axis)
            if (inner.tag != "g" or len(inner)) and not any(word in (child.get("class") or "") for word in _LEFT_OUT):
                copy.append(inner)
    return copy


def _is_line_seen(path: Any, axis: str) -> bool:
    """Lines across the columns are of no use."""
    return axis == "y" or "guide" not in (path.get("class") or "")


def _style(node: Any, kind: str, series: str, axis: str) -> dict[str, str]:
    if node.tag == "rect" and series:
        return {"class": f"part-{series}", "fill": COLOURS[int(series)], "stroke": TEXT, "stroke-width": "0.5"}
    if node.tag == "path":
        return {"fill": "none", "stroke": LINE, "stroke-width": "0.5" if "guide" in kind else "1"}
    if node.tag != "text":
        return {}
    anchors = {"x": "middle", "y": "end"}
    anchor = anchors.get(axis, "middle" if "no_data" in kind else "start")
    is_left_of_bar = "value" in kind and (node.text or "").startswith("-")
    return {"fill": TEXT, "text-anchor": "end" if is_left_of_bar else anchor}


def _round(value: str) -> str:
    """An attribute with one decimal: short, and the same on every machine."""
    return re.sub(r"-?\d+\.\d+(e-\d+)?", lambda number: f"{float(number[0]):.1f}", value)
