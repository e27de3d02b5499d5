"""Debts: what was not covered when a month closed is owed, and later credit settles it before it pays anything new."""

from datetime import date
from decimal import Decimal

from commands import ask
from prepaid import (
    JUNE,
    MAY,
    amounts,
    deducted,
    drawn,
    june,
    moved,
    night,
    others,
    paid,
    prepaid,
    repeats,
    row,
    sums,
    transactions,
    used,
)

MAY_2, MAY_31 = date(2026, 5, 2), date(2026, 5, 31)
CLOSED = date(2026, 6, 4)
"""A run of this day closes May."""


def debts(url: str, name: str = "ada") -> dict[int, tuple[str, ...]]:
    """amount, settled and written_off by row."""
    text = "SELECT usage_daily_id AS id, amount, settled, written_off FROM rollup.debts WHERE user_id = %s ORDER BY 1"
    return {
        found["id"].int: tuple(format(found[key], ".2f") for key in ("amount", "settled", "written_off"))
        for found in ask(url, text, name)
    }


def test_credit_that_comes_after_the_close_settles_the_month(ready: str) -> None:
    """Before anything of an open month: in the ledger, the account, the row, the roll-ups, the cluster tables and the
    corrections; cost and hash of the closed month stay."""
    prepaid(ready, purchased="10")
    row(ready, 1, "4", MAY_2)
    row(ready, 2, "306", MAY_31)
    row(ready, 3, "5", JUNE)
    night(ready, today=CLOSED)
    assert debts(ready) == {2: ("300.00", "0.00", "0.00")}
    repeats(ready, today=CLOSED)
    frozen = ask(ready, "SELECT total_cost, usage_hash, rates_hash FROM rollup.user_monthly WHERE month = %s", MAY)
    others(ready, purchased="1000")
    report = night(ready, today=june(5))
    assert debts(ready) == {2: ("300.00", "300.00", "0.00")}
    assert drawn(ready) == {1: amounts("0", "4"), 2: amounts("0", "306"), 3: amounts("0", "5")}
    assert (deducted(ready)[2], used(ready)) == (Decimal(306), amounts("0", "315"))
    assert paid(ready, month=MAY) == sums(credits_purchased="310", credits_deducted="310")
    assert (
        ask(ready, "SELECT total_cost, usage_hash, rates_hash FROM rollup.user_monthly WHERE month = %s", MAY) == frozen
    )
    assert transactions(ready, after=2) == moved("-300 from 1000 to 700", "-5 from 700 to 695")
    [change] = ask(ready, "SELECT month, cause, old_total, new_total FROM rollup.corrections")
    assert change == {"month": MAY, "cause": "credit", "old_total": 310, "new_total": 310}
    [cluster] = ask(ready, "SELECT credits_deducted FROM rollup.cluster_monthly WHERE month = %s", MAY)
    assert cluster["credits_deducted"] == 310
    assert report["changed"]["debts"] == 1
    repeats(ready, today=june(5))
