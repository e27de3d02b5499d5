"""Names that the job accepts for schemas and roles, and valid text."""

MOST_BYTES = 63
"""PostgreSQL truncates longer names."""


def is_name(text: str) -> bool:
    """Whether ``text`` is a name that the job accepts for a schema or a role.

    It must be printable and at most MOST_BYTES long. A $ is not allowed: it could end the dollar quotes of a DO block.
    """
    return text.isprintable() and "$" not in text and 0 < len(text.encode()) <= MOST_BYTES


def is_text(text: str) -> bool:
    """Whether ``text``, from the environment or the command line, is valid UTF-8."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
