"""HTML pages from Jinja2 templates. An operator may replace a template by one of a folder of his own.

Texts of other people, such as ids and names, are made safe to show: no control characters, and not too long.
"""

import traceback
import unicodedata
from collections.abc import Mapping, Sequence
from datetime import date, datetime
from decimal import ROUND_FLOOR, Decimal
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jobs.domain.errors import ConfigError
from jobs.domain.wording import count, format_figure

if TYPE_CHECKING:
    from jinja2.sandbox import SandboxedEnvironment

LONGEST_ID = 80
CENT = Decimal("0.01")
REPLACEMENT = "\N{REPLACEMENT CHARACTER}"
_UNSEEN = ("Cc", "Cf", "Cs", "Zl", "Zp")
"""Categories of characters that show nothing, or that turn the text around them: controls, overrides of the direction,
halves of a pair, and separators of lines."""
_KEPT = "\n\t\N{ZERO WIDTH NON-JOINER}\N{ZERO WIDTH JOINER}"
"""Needed by texts of several lines, and by scripts such as Persian, and by emoji."""


def render(template: str, values: Mapping[str, Any], folder: Path | None = None) -> str:
    """Returns the page that a template makes of ``values``.

    - ``template``: its name, such as report.html
    - ``values``: what the template may name; texts are escaped, a chart is not
    - ``folder``: searched first, then the package's own templates

    Raises ConfigError where a library is missing, or where the template cannot be read or names something unknown.
    """
    require_libraries()
    import jinja2

    try:
        return _make_environment(folder).get_template(template).render(values)
    except jinja2.TemplateSyntaxError as error:
        raise _explain(error, f"{error.filename or template} line {error.lineno}") from None
    except Exception as error:
        if folder is None or isinstance(error, MemoryError):
            raise  # our own template: a defect, not a mistake of the operator
        raise _explain(error, _find_line(error) or f"the template {template} of {folder}") from None


def require_libraries() -> None:
    """Raises ConfigError if the libraries of the extra [reports] are not installed."""
    try:
        import jinja2.sandbox  # noqa: F401

        from jobs.reports.charts import import_pygal

        import_pygal()
    except ImportError as error:
        raise ConfigError(
            f"this file needs a library that is not installed ({error.name}): pip install 'usage-jobs[reports]'"
        ) from None


def round_to_sum(amounts: Sequence[Decimal]) -> list[Decimal]:
    """Returns the amounts with two decimals, so that they add up to their sum rounded half to even.

    Each is less than 0.01 from the exact amount: all are rounded down, and the cents that are missing from the sum go
    to those with the largest rest, the first of equals first.
    """
    whole = sum(amounts, Decimal()).quantize(CENT)
    shown = [amount.quantize(CENT, ROUND_FLOOR) for amount in amounts]
    missing = int((whole - sum(shown, Decimal())) / CENT)
    rests = sorted(range(len(amounts)), key=lambda each: shown[each] - amounts[each])
    for each in rests[:missing]:
        shown[each] += CENT
    return shown


def _find_line(error: Exception) -> str | None:
    """The file and the line of a template at which ``error`` was raised; None: in no template."""
    places = [(frame.f_code.co_filename, line) for frame, line in traceback.walk_tb(error.__traceback__)]
    found = [f"{file} line {line}" for file, line in places if not file.endswith(".py")]
    return found[-1] if found else None


@cache
def _make_environment(folder: Path | None) -> "SandboxedEnvironment":
    """The environment of all pages. Sandboxed: a template shows values, and runs no other code."""
    from jinja2 import ChoiceLoader, FileSystemLoader, PackageLoader, PrefixLoader, StrictUndefined
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    own = PackageLoader("jobs.reports", "templates")
    # A template of the operator that has the name of ours extends ours by the name package/….
    replaced = [] if folder is None else [FileSystemLoader(folder), PrefixLoader({"package": own})]
    environment = ImmutableSandboxedEnvironment(
        loader=ChoiceLoader([*replaced, own]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_to_text,
    )
    environment.filters |= {"figure": format_figure, "cut": _cut_id, "month": "{:%Y-%m}".format, "time": _format_time}
    environment.globals["count"] = count
    return environment


def _to_text(value: Any) -> Any:
    """What a page shows: nothing for None, an amount with two decimals, a text without control characters."""
    if value is None:
        return ""
    if isinstance(value, Decimal):
        return format_figure(value)
    if hasattr(value, "__html__") or not isinstance(value, str):
        return value  # a chart, or a number
    return replace_controls(value)


def _cut_id(text: str | None, most: int = LONGEST_ID) -> str:
    """An id or a name that is not too long for a page, with its length where it is cut."""
    text = text or ""
    return cut(text, most) + (f" ({len(text):,} characters)" if len(text) > most else "")


def _format_time(value: datetime | date | None) -> str:
    return "" if value is None else f"{value:%Y-%m-%d %H:%M}"


def _explain(error: Exception, where: str) -> ConfigError:
    return ConfigError(
        f"{where}: expected a Jinja2 template that names only what the page has; found: {error}. Correct it; the "
        "values and blocks are in usage-jobs help reports"
    )


def replace_controls(text: str) -> str:
    """Returns ``text`` with each character that shows nothing, or turns the text around, replaced by U+FFFD."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(REPLACEMENT if unicodedata.category(one) in _UNSEEN and one not in _KEPT else one for one in text)


def cut(text: str, most: int) -> str:
    """Returns ``text`` without control characters, in at most ``most`` characters; … at its end: it was longer."""
    shown = replace_controls(text[: most + 1])
    return shown if len(shown) <= most else shown[: most - 1] + "…"
