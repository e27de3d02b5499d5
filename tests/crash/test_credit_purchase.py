"""Invariant 3: a purchase made while a run is at work is never lost, and balances stay a chain.

At each statement of each batch, and of the transaction in which it reads before, another client buys credit for the
users who are short of it. From the lock of their accounts to COMMIT the purchase has to wait; wherever it comes, one
more run makes the most of it.
"""

import threading
from collections.abc import Callable
from decimal import Decimal

import night as world
import psycopg
import pytest
from commands import ask
from counts import count
from killing import Tables, tables, without_history
from night import PURCHASE, SHORT, Night
from wire import Statement, Verdict

PARTS = 4
EVERY = max(1, count("STATEMENT_STRIDE") // 3)
AMOUNT = Decimal(5)
ACCOUNTS = "FOR NO KEY UPDATE"
"""What the statement that locks accounts says, which is the first to lock anything for the application."""


@pytest.fixture
def expected(copy: Callable[[], str]) -> Tables:
    """What a run leaves that is made after the purchases."""
    url = copy()
    for user in SHORT:
        world.buy(url, user, AMOUNT)
    world.run(url)
    return tables(url)


class Purchase:
    """A purchase on its own connection and thread, which may have to wait for a row that the run holds."""

    def __init__(self, url: str, user: str) -> None:
        self._connection = psycopg.connect(url)
        self._user = user
        self._thread = threading.Thread(target=self._post)
        self._thread.start()

    def settle(self, url: str) -> bool:
        """Returns when it is made (True) or waits for somebody's lock (False)."""
        text = "SELECT cardinality(pg_blocking_pids(%s)) > 0"
        with psycopg.connect(url, autocommit=True) as connection:
            while self._thread.is_alive():
                if connection.execute(text, [self._connection.info.backend_pid]).fetchone() == (True,):
                    return False
        return True

    def join(self) -> None:
        self._thread.join()
        self._connection.close()

    def _post(self) -> None:
        self._connection.execute(PURCHASE, {"user": self._user, "amount": AMOUNT})
        self._connection.commit()


@pytest.mark.thorough
@pytest.mark.parametrize("part", range(PARTS))
def test_a_purchase_at_any_statement_of_a_batch_is_not_lost(
    part: int, copy: Callable[[], str], night: Night, expected: Tables
) -> None:
    for target in world.boundaries([*night.reads(), *night.batches()])[part * EVERY :: PARTS * EVERY]:
        url = copy()
        bought_at(target, url)
        sound(url)
        world.run(url)
        assert without_history(tables(url)) == without_history(expected), target
        sound(url)


@pytest.mark.thorough
def test_a_purchase_waits_where_the_run_holds_the_row_and_only_there(copy: Callable[[], str], night: Night) -> None:
    """Without a statement in that window the test above would prove too little; with all of them the lock too much."""
    for read in night.reads():
        assert not any(waits(read[at], copy()) for at in (0, len(read) // 2, -1)), "nothing is locked yet"
    held = []
    for batch in night.batches():
        lock = next(n for n, statement in enumerate(batch) if ACCOUNTS in world.bare(statement))
        assert not any(waits(batch[at], copy()) for at in (0, lock)), "the accounts are not locked yet"
        [waited] = {waits(batch[at], copy()) for at in (lock + 1, len(batch) // 2, -1)}
        held.append(waited)
    assert sorted(held) == [False, True], "both users are in one batch, and wait for that only"


def waits(target: Statement, url: str) -> bool:
    """Whether a purchase before one statement of the night has to wait."""
    return not all(bought_at(target, url))


def bought_at(target: Statement, url: str) -> list[bool]:
    """Runs the night, with purchases before one statement of it; whether each was made at once."""
    purchases: list[Purchase] = []
    at_once: list[bool] = []

    def hook(statement: Statement) -> Verdict:
        if (statement.connection, statement.ordinal) == (target.connection, target.ordinal):
            purchases.extend(Purchase(url, user) for user in SHORT)
            at_once.extend(purchase.settle(url) for purchase in purchases)
        return Verdict.PASS

    world.wired(url, hook)
    for purchase in purchases:
        purchase.join()
    assert len(at_once) == len(SHORT), "the run never came to this statement"
    return at_once


def sound(url: str) -> None:
    """No balance below 0, and each user's transactions a chain that ends in what the account says."""
    posted = ask(url, "SELECT * FROM credit_transactions ORDER BY created_at")
    for account in ask(url, "SELECT * FROM user_credits"):
        used = account["total_used"] + account["free_credits_used"]
        balance = account["total_purchased"] + account["free_credits_granted"] - used
        assert balance >= 0, account
        assert account["free_credits_used"] <= account["free_credits_granted"], account
        chain = [row for row in posted if row["user_id"] == account["user_id"]]
        befores = [*(row["balance_before"] for row in chain), balance][1:]
        for row, following in zip(chain, befores, strict=True):
            assert row["balance_after"] == row["balance_before"] + row["amount"], row
            assert row["balance_after"] >= 0, row
            assert row["balance_after"] == following, chain
