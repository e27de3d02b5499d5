"""The invariants in words, and the result of one check of `reconcile`: two figures that must be equal."""

from dataclasses import dataclass, replace
from typing import Any

from psycopg import sql

from jobs.domain.wording import format_value

INVARIANTS = {
    "1": "Costs and quantities by user, by cluster and by day are the same sums",
    "2": "Computing stored days and months again gives the same figures",
    "3": "No user pays more than the rounded cost, and no balance falls below 0",
    "4": "The ledger agrees with rows, transactions and accounts",
    "5": "Computing the credit draws again gives the same draws",
    "6": "Each usage row is priced or rejected",
    "7": "No run has stopped half-way",
    "8": "No usage has disappeared",
}
"""Each invariant in words, by the number with which the title of its checks begins. The manual's page
how-it-works explains them."""


FIRST_TEN = 10
"""How many rows are named that break a check."""


@dataclass(frozen=True, slots=True)
class InvariantCheck:
    """The result of one check, a line of `reconcile`.

    - ``title``: what is checked, after the number of its invariant (no number: the line only counts)
    - ``left``, ``right``: the two figures that must be equal: amounts, counts or texts
    - ``broken``: how many rows break the check
    - ``broken_keys``: the first ten of these rows
    - ``differences``: how both sides differ in each of ``broken_keys``
    - ``note``: a remark for the operator
    - ``remedies``: SQL statements that correct the data, where they are known
    - ``is_judged``: whether the check was possible
    """

    title: str
    left: Any
    right: Any
    broken: int = 0
    broken_keys: tuple[str, ...] = ()
    differences: tuple[str, ...] = ()
    note: str = ""
    remedies: tuple[str, ...] = ()
    is_judged: bool = True

    @property
    def name(self) -> str:
        """The title without the number of the invariant."""
        return self.title[2:] if self.invariant else self.title

    @property
    def invariant(self) -> str:
        """The invariant in words; empty for a line that only counts."""
        return INVARIANTS.get(self.title[:1], "")

    @property
    def verdict(self) -> str:
        """The result as a word; "not checked" where the check was not possible."""
        return "broken" if self.broken else "holds" if self.is_judged else "not checked"

    def plus(self, other: "InvariantCheck") -> "InvariantCheck":
        """Returns the result of the same check over the rows of both."""
        keys, differences = self.broken_keys + other.broken_keys, self.differences + other.differences
        some = sorted(zip(keys, differences, strict=True))[:FIRST_TEN]
        return replace(
            self,
            left=self.left + other.left,
            right=self.right + other.right,
            broken=self.broken + other.broken,
            broken_keys=tuple(key for key, _ in some),
            differences=tuple(difference for _, difference in some),
        )


def describe_sides(what: str, left: object, right: object) -> str:
    """Returns a text with both values of a difference, after ``what``."""
    one, other = ("none" if value is None else format_value(value) for value in (left, right))
    return f"{what}{one} on one side, {other} on the other"


def describe_sides_sql(what: str, left: sql.Composable, right: sql.Composable) -> sql.Composed:
    """Returns ``describe_sides`` as an SQL expression: the same text for two numbers."""
    values = [sql.SQL("coalesce(trim_scale(({})::numeric)::text, 'none')").format(side) for side in (left, right)]
    return sql.SQL("{} || {} || ' on one side, ' || {} || ' on the other'").format(sql.Literal(what), *values)
