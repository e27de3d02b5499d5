"""What always holds of money, in words; and a line of `reconcile`: two figures that must be one, and who breaks it."""

from dataclasses import dataclass
from decimal import Decimal

from psycopg import sql

INVARIANTS = {
    "1": "Costs and quantities by user, by cluster and by day are the same sums",
    "2": "A recomputation comes to what is stored",
    "3": "Nobody is charged more than the quantized cost, nor below a balance of 0",
    "4": "The ledger says what rows, transactions and accounts say",
    "5": "Draws are what usage, credit and billing mode come to",
    "6": "Each usage row is priced or rejected",
    "7": "What a run has begun is complete",
    "8": "Usage has not vanished",
}
"""In words, by the number with which a line of `reconcile` begins; README, section "Invariants", says more."""


@dataclass(frozen=True, slots=True)
class Law:
    """One line of `reconcile`: both figures, how many break it, and of the first ten of these ``culprits`` how both
    sides differ (``differences``); a ``note``; and the SQL that puts it right (``remedies``), where that is known."""

    law: str
    left: Decimal | int | str
    right: Decimal | int | str
    broken: int = 0
    culprits: tuple[str, ...] = ()
    differences: tuple[str, ...] = ()
    note: str = ""
    remedies: tuple[str, ...] = ()
    judged: bool = True

    @property
    def name(self) -> str:
        """What is checked, without the number of the invariant."""
        return self.law[2:] if self.invariant else self.law

    @property
    def invariant(self) -> str:
        """What must hold, in words; empty for a line that only counts."""
        return INVARIANTS.get(self.law[:1], "")

    @property
    def verdict(self) -> str:
        """Whether it holds; a line that is not ``judged`` only counts what could not be."""
        return "broken" if self.broken else "holds" if self.judged else "not judged"


def sides(what: str, left: object, right: object) -> str:
    """The words that tell two values apart."""
    one, other = ("none" if value is None else shown(value) for value in (left, right))
    return f"{what}{one} on one side, {other} on the other"


def shown(value: object) -> str:
    """A value, an amount without the zeros at its end."""
    text = format(value, "f") if isinstance(value, Decimal) else str(value)
    return text.rstrip("0").rstrip(".") if isinstance(value, Decimal) and "." in text else text


def sides_in_sql(what: str, left: sql.Composable, right: sql.Composable) -> sql.Composed:
    """The words that tell two values apart, as SQL."""
    values = [sql.SQL("coalesce(trim_scale(({})::numeric)::text, 'none')").format(side) for side in (left, right)]
    return sql.SQL("{} || {} || ' on one side, ' || {} || ' on the other'").format(sql.Literal(what), *values)
