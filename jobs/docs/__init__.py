"""The manual, one Markdown page a topic: `usage-jobs help TOPIC` shows it, and the README links to it."""

from importlib.resources import files

TOPICS = (
    *("getting-started", "how-it-works", "prices", "credits", "months-and-backfills", "reports", "database"),
    *("settings", "operations", "performance", "architecture-and-contributing"),
)
"""The pages, in the order in which they are listed."""


def read_page(topic: str) -> str:
    """The Markdown text of a page."""
    return files("jobs.docs").joinpath(f"{topic}.md").read_text("utf-8")
