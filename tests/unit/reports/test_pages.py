"""Pages: texts are escaped, a template of the operator comes first, and runs no code."""

from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("jinja2", reason="needs the extra [reports]")

from jobs.domain.errors import ConfigError
from jobs.reports.pages import render, round_to_sum


def _render(folder: Path, text: str, **values: Any) -> str:
    (folder / "page.html").write_text(text, encoding="utf-8")
    return render("page.html", values, folder)


def test_values_are_text(tmp_path: Path) -> None:
    shown = _render(tmp_path, "{{ a }}|{{ b }}|{{ c }}|{{ d }}", a="<b>\x01\u202e", b=None, c=Decimal("1234.5"), d=7)
    assert shown == "&lt;b&gt;\ufffd\ufffd||1,234.50|7"


def test_filters(tmp_path: Path) -> None:
    text = "{{ when | time }} {{ none | time }}{{ id | cut(3) }} {{ number | figure }} {{ when | month }}"
    when = datetime(2026, 11, 30, 2, 30, tzinfo=UTC)
    shown = _render(tmp_path, text, when=when, id="abcdef", number=1234)
    assert shown == "2026-11-30 02:30 ab… (6 characters) 1,234 2026-11"


def test_templates_of_the_package_can_be_extended(tmp_path: Path) -> None:
    page = _render(tmp_path, '{% extends "base.html" %}{% block main %}<p>{{ x }}</p>{% endblock %}', x="&")
    assert page.startswith("<!DOCTYPE html>")
    assert "<p>&amp;</p>" in page
    assert "prefers-color-scheme" in page
    assert "://" not in page


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("{{ unknown }}", "'unknown' is undefined"),
        ("a\n{% if %}", "page.html line 2: expected a Jinja2 template"),
        ("{{ ''.__class__.__mro__ }}", "unsafe"),
        ('{% include "../secret" %}', "../secret"),
    ],
)
def test_mistakes_in_a_template_are_named(tmp_path: Path, text: str, found: str) -> None:
    with pytest.raises(ConfigError, match=found):
        _render(tmp_path, text)


def test_rounded_amounts_add_up() -> None:
    thirds = [Decimal(10) / 3] * 3
    assert round_to_sum(thirds) == [Decimal("3.34"), Decimal("3.33"), Decimal("3.33")]
    assert round_to_sum([Decimal("0.005"), Decimal("-0.005")]) == [Decimal("0.01"), Decimal("-0.01")]
    assert round_to_sum([]) == []
