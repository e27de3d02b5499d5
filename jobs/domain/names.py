"""Valid names of database schemas and roles."""

MOST_BYTES = 63
"""PostgreSQL truncates longer names."""


def is_name(text: str) -> bool:
    """Whether ``text`` is a name that the job accepts for a schema or a role.

    It must be printable and at most MOST_BYTES long. A $ is not allowed: it could end the dollar quotes of a DO block.
    """
    return text.isprintable() and "$" not in text and 0 < len(text.encode()) <= MOST_BYTES
