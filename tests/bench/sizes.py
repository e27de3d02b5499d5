"""How large a database of the benchmark is, and which days and months it has."""

from dataclasses import dataclass
from datetime import date, timedelta

LAST_DAY = date(2026, 6, 30)


@dataclass(frozen=True, slots=True)
class Size:
    """``users`` with one row of usage on each of ``days`` days, the last of which is ``last``."""

    users: int
    days: int
    last: date = LAST_DAY

    @property
    def first(self) -> date:
        return self.last - timedelta(days=self.days - 1)

    @property
    def start(self) -> str:
        """The month of the first day, as the job's settings take it."""
        return f"{self.first:%Y-%m}"

    @property
    def rows(self) -> int:
        return self.users * self.days

    @property
    def database(self) -> str:
        return f"sample_{self.users}_{self.days}_{self.last:%Y%m%d}"


SIZES = {
    "S": Size(10_000, 30),
    "M": Size(100_000, 30),
    "L": Size(1_000_000, 30),
    "Y": Size(10_000, 365),
}
