"""Prepaid users, rows that cost a given amount, and what a run has booked on them: the words of the credit tests.

A row is known by its number, which is its id, so that a test can say what was drawn on row 1.
"""

from collections.abc import Mapping
from datetime import date
from decimal import Decimal
from typing import Any
from uuid import UUID

from commands import DAY, TODAY, add_row, ask, insert, usage_jobs
from ways import FURTHER

HOUR = Decimal("0.10")
"""An hour of cpu, by the rates that ship and by commands.RATES."""
JUNE, MAY = date(2026, 6, 1), date(2026, 5, 1)
BOTH_OPEN = date(2026, 6, 3)
"""The last day on which May is still open beside June: a run of that day covers May and two days of June."""
Amounts = tuple[Decimal, Decimal]
"""Free and purchased."""


def june(day: int) -> date:
    return date(2026, 6, day)


def amounts(free: str, purchased: str) -> Amounts:
    return Decimal(free), Decimal(purchased)


def user(url: str, name: str = "ada", mode: str | None = "prepaid", **columns: object) -> None:
    insert(url, "users", id=name, billing_mode=mode, **columns)


def account(url: str, name: str = "ada", **columns: str) -> None:
    """A row of user_credits: granted, free_used, purchased, used."""
    names = {"granted": "free_credits_granted", "free_used": "free_credits_used"}
    names |= {"purchased": "total_purchased", "used": "total_used"}
    insert(url, "user_credits", user_id=name, **{names[key]: value for key, value in columns.items()})


def prepaid(url: str, name: str = "ada", **columns: str) -> None:
    """A prepaid user with an account."""
    user(url, name)
    account(url, name, **columns)


def row(url: str, number: int, cost: str, day: date = DAY, **columns: object) -> None:
    """A usage row of that many hours of cpu that they cost ``cost``; of ada unless ``columns`` say otherwise."""
    add_row(url, **{"id": UUID(int=number), "date": day, "cpu_hours": Decimal(cost) / HOUR} | columns)


def reprice(url: str, number: int, cost: str) -> None:
    """The collector updates a row in place."""
    ask(url, "UPDATE usage_daily SET cpu_hours = %s WHERE id = %s", Decimal(cost) / HOUR, UUID(int=number))


def others(url: str, name: str = "ada", *, type_: str = "purchase", **columns: str) -> None:
    """Another program changes an account by these amounts, and says so in credit_transactions."""
    names = {"granted": "free_credits_granted", "purchased": "total_purchased", "used": "total_used"}
    changes = ", ".join(f"{names[key]} = {names[key]} + {Decimal(value)}" for key, value in columns.items())
    worth = sum(Decimal(value) * (-1 if key == "used" else 1) for key, value in columns.items())
    text = (
        f"WITH moved AS (UPDATE user_credits SET {changes} WHERE user_id = %s RETURNING total_purchased"
        " + free_credits_granted - total_used - free_credits_used AS balance) INSERT INTO credit_transactions"
        " (user_id, type, amount, balance_before, balance_after, created_at)"
        f" SELECT %s, %s, {worth}, balance - {worth}, balance, clock_timestamp() FROM moved"
    )
    ask(url, text, name, name, type_)


def night(url: str, *options: str, today: date = TODAY, code: int = 0, **environment: str) -> dict[str, Any]:
    """The report of a run, which must end with ``code``."""
    ran = usage_jobs("run", "--json", *options, url=url, today=today, **environment)
    assert ran.code == code, ran.err
    return ran.object


def repeats(url: str, *options: str, today: date = TODAY, code: int = 0, **environment: str) -> None:
    """A run once more changes nothing, and, directly, every law holds; ``options`` are those of both commands."""
    again = night(url, *options, today=today, code=code, **environment)
    assert (again["rows_changed"], set(again["changed"].values())) == (0, {0})
    if FURTHER:
        return  # the histories of this way ask for every law
    laws = usage_jobs("reconcile", *options, url=url, today=today, **environment)
    assert laws.code == 0, laws.out + laws.err


def drawn(url: str, name: str = "ada") -> dict[int, Amounts]:
    """What the ledger comes to by row, rows with nothing left out."""
    text = (
        "SELECT usage_daily_id AS id, sum(free) AS free, sum(purchased) AS purchased FROM rollup.credit_draws"
        " WHERE user_id = %s GROUP BY 1"
    )
    sums = {found["id"].int: (found["free"], found["purchased"]) for found in ask(url, text, name)}
    return {number: both for number, both in sums.items() if any(both)}


def booked(url: str, name: str = "ada", *, after: int = 0) -> list[tuple[int, int, date, Decimal, Decimal]]:
    """Entries of runs after that one: row, revision, usage day, free, purchased."""
    text = "SELECT * FROM rollup.credit_draws WHERE user_id = %s AND run_id > %s ORDER BY usage_daily_id, revision"
    return [
        (found["usage_daily_id"].int, found["revision"], found["usage_date"], found["free"], found["purchased"])
        for found in ask(url, text, name, after)
    ]


def entry(number: int, revision: int, day: date, free: str, purchased: str) -> tuple[int, int, date, Decimal, Decimal]:
    """As ``booked`` tells it."""
    return number, revision, day, Decimal(free), Decimal(purchased)


def used(url: str, name: str = "ada") -> Amounts:
    """free_credits_used and total_used."""
    [found] = ask(url, "SELECT free_credits_used, total_used FROM user_credits WHERE user_id = %s", name)
    return found["free_credits_used"], found["total_used"]


def deducted(url: str) -> dict[int, Decimal]:
    """credits_deducted by row; null is 0, and 0 is left out."""
    found = ask(url, "SELECT id, credits_deducted FROM usage_daily WHERE credits_deducted <> 0")
    return {held["id"].int: held["credits_deducted"] for held in found}


def transactions(url: str, name: str = "ada", *, after: int = 0) -> list[tuple[Decimal, Decimal, Decimal]]:
    """amount, balance_before and balance_after in the order in which they were written, of runs after that one."""
    text = (
        "SELECT amount, balance_before, balance_after FROM credit_transactions"
        " WHERE user_id = %s AND type = 'usage' AND (metadata->>'run_id')::int > %s ORDER BY created_at"
    )
    return [(held["amount"], held["balance_before"], held["balance_after"]) for held in ask(url, text, name, after)]


def moved(*texts: str) -> list[tuple[Decimal, ...]]:
    """As ``transactions`` tells it, of texts such as "-0.30 from 0.60 to 0.30"."""
    return [tuple(map(Decimal, text.replace("from ", "").replace("to ", "").split())) for text in texts]


def paid(url: str, name: str = "ada", month: date = JUNE) -> Mapping[str, Decimal]:
    """What the roll-up says of a user's month, zeros left out."""
    columns = ("credits_free", "credits_purchased", "credits_deducted", "uncovered", "amount_due", "amount_reported")
    text = f"SELECT {', '.join(columns)} FROM rollup.user_monthly WHERE user_id = %s AND month = %s"
    held: list[dict[str, Decimal]] = ask(url, text, name, month)
    assert all(value is not None for found in held for value in found.values())
    return {column: value for found in held for column, value in found.items() if value}


def sums(**values: str) -> dict[str, Decimal]:
    """As ``paid`` tells it."""
    return {name: Decimal(value) for name, value in values.items()}


def last_run(url: str) -> int:
    [found] = ask(url, "SELECT max(run_id) AS id FROM rollup.runs")
    return int(found["id"])
