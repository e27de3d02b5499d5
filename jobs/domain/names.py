"""Names of the database's schemas and roles."""

MOST_BYTES = 63
"""PostgreSQL cuts longer names."""


def is_name(text: str) -> bool:
    """Whether ``text`` can name a schema or a role that we write to: any printable text but with a $, by which our DO
    blocks are quoted."""
    return text.isprintable() and "$" not in text and 0 < len(text.encode()) <= MOST_BYTES
