"""Texts of other people, such as ids and names, made safe to show: no control characters, and not too long."""

import unicodedata

REPLACEMENT = "\N{REPLACEMENT CHARACTER}"
_UNSEEN = ("Cc", "Cf", "Cs", "Zl", "Zp")
"""Categories of characters that show nothing, or that turn the text around them: controls, overrides of the direction,
halves of a pair, and separators of lines."""
_KEPT = "\n\t\N{ZERO WIDTH NON-JOINER}\N{ZERO WIDTH JOINER}"
"""Needed by texts of several lines, and by scripts such as Persian, and by emoji."""


def replace_controls(text: str) -> str:
    """Returns ``text`` with each character that shows nothing, or turns the text around, replaced by U+FFFD."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(REPLACEMENT if unicodedata.category(one) in _UNSEEN and one not in _KEPT else one for one in text)


def cut(text: str, most: int) -> str:
    """Returns ``text`` without control characters, in at most ``most`` characters; … at its end: it was longer."""
    shown = replace_controls(text[: most + 1])
    return shown if len(shown) <= most else shown[: most - 1] + "…"
