"""How often the laws try what could be tried for hours; the environment sets other numbers by these names.

CI plays a small count on every way to a database; a campaign is the same test with a large one (README).
"""

import os

from ways import FURTHER

USUAL_AND_FURTHER = {
    "LAW_EXAMPLES": (2, 1),
    "MACHINE_SEQUENCES": (1, 1),
    "HISTORIES": (20, 2),
    "HISTORY_NIGHTS": (2, 2),
    "MONEY_HISTORIES": (2, 2),
    # A campaign: 50.
    "EXPORT_HISTORIES": (1, 1),
    "FOCUS_HISTORIES": (1, 1),
    "STATEMENT_HISTORIES": (1, 1),
    "REPORT_HISTORIES": (1, 1),
    "FINGERPRINT_USERS": (2000, 1000),
    "PLANS": (2, 1),
    "KILLS": (1, 1),
    "CREDIT_KILLS": (3, 1),
    "BACKFILL_KILLS": (1, 1),
    "POOLER_KILLS": (2, 2),
    "WORKER_ROUNDS": (1, 1),
    "POOL_RUNS": (2, 2),
    "SCHEDULE_DAYS": (1, 1),
    # Nights beside busy clients, of so many users; a campaign: 100 nights of 3,000.
    "BUSY_NIGHTS": (3, 2),
    "BUSY_USERS": (300, 300),
    # Usage rows of the test that counts bytes; a campaign: 300,000.
    "WIRE_ROWS": (9_000, 9_000),
    # Of the statements of a night every so-manieth; of its transactions a part of that.
    "STATEMENT_STRIDE": (60, 48),
}
"""On the direct way, and on each further way or server, where what depends on neither need not be tried as often."""


def count(name: str) -> int:
    usual, further = USUAL_AND_FURTHER[name]
    return int(os.environ.get(name, further if FURTHER else usual))
