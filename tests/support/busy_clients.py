"""Clients that work on the job's tables all the time: a collector, buyers, and two applications that lock.

Each is a thread with a connection of its own, straight to the server. The users are shared out so that no two clients
can wait for each other in a circle: collector number k alone touches usage rows of the users whose number leaves k
when divided by 4, and moves them among these users; the application that locks a row first does so for remainder 0,
the one that locks the account first for remainder 2. A circle therefore always has the job in it. A client's
deadlock_timeout is far below the server's usual one, so that of such a circle the client is the one that hears of it.
"""

import random
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from decimal import Decimal
from threading import Event, Thread
from time import perf_counter
from uuid import uuid4

import psycopg
from many_users import row_id, user_id
from purchases import buy
from ticker import ticks

GROUPS = 4
COLLECTED = 200 / GROUPS
"""Changes a second of one collector thread; all of them together 200."""
BOUGHT = 20
LOCKED = 20
"""Transactions a second of each of the two applications."""
HOLD = 0.01
"""Seconds between the first and the second lock of an application."""
SECONDS = 120
"""How long all clients work at most, for each night that they are to work beside."""
SESSION = ("SET deadlock_timeout = '100ms'", "SET lock_timeout = '60s'", "SET application_name = 'a neighbour'")

UPDATE = """
UPDATE usage_daily SET cpu_hours = %(hours)s, gpu_hours = %(hours)s / 4 WHERE id = %(id)s RETURNING user_id, date
"""
INSERT = """
INSERT INTO usage_daily (id, user_id, date, hopsworks_cluster_id, cpu_hours)
VALUES (%(id)s, %(user)s, %(day)s, '00000000-0000-0000-0000-000000000001', %(hours)s) RETURNING user_id, date
"""
TO_USER = """
WITH old AS (SELECT id, user_id, date FROM usage_daily WHERE id = %(id)s)
UPDATE usage_daily AS u SET user_id = %(user)s FROM old WHERE u.id = old.id RETURNING old.user_id, old.date
"""
TO_DAY = """
WITH old AS (SELECT id, user_id, date FROM usage_daily WHERE id = %(id)s)
UPDATE usage_daily AS u SET date = %(day)s FROM old WHERE u.id = old.id RETURNING old.user_id, old.date
"""
LOCK_ROW = "SELECT user_id FROM usage_daily WHERE id = %(id)s FOR UPDATE"
LOCK_ROW_OF = "SELECT id FROM usage_daily WHERE user_id = %(user)s AND date = %(day)s ORDER BY id LIMIT 1 FOR UPDATE"
LOCK_ACCOUNT = "SELECT user_id FROM user_credits WHERE user_id = %(user)s FOR UPDATE"


@dataclass(frozen=True)
class Morning:
    """What the clients do while one night's run is at work.

    ``yesterday``: the day whose rows are changed. ``days``: those to which such a row may be moved. ``late``: the days
    of which a fiftieth of all changes are, if any.
    """

    yesterday: date
    days: Sequence[date]
    late: Sequence[date] = ()


@dataclass(frozen=True)
class Touch:
    """A change of usage that has been committed: whose rows of which days it concerned, and when it was over."""

    users: frozenset[str]
    days: frozenset[date]
    over: datetime


@dataclass
class Seen:
    """What one client did: transactions, changes, errors (of which there should be none), and its longest wait."""

    name: str
    transactions: int = 0
    touches: list[Touch] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    longest: float = 0.0


Work = Callable[[psycopg.Connection, random.Random, Seen], None]
"""One transaction of a client; it commits by itself."""


class BusyClients:
    """All clients on the database ``url``, at work as long as the block lasts; a context manager.

    ``users``: how many there are. ``morning``: may be set anew before each night.
    """

    def __init__(self, url: str, users: int, nights: int, morning: Morning) -> None:
        assert users >= 2 * GROUPS
        self._url, self._users, self._at_most = url, users, nights * SECONDS
        self.morning = morning
        self._over = Event()
        self.seen: list[Seen] = []
        self._threads = [
            *(self._client("collector", COLLECTED, self._collects(group)) for group in range(GROUPS)),
            self._client("buyer", BOUGHT, self._buys),
            self._client("row first", LOCKED, self._locks_row_first),
            self._client("account first", LOCKED, self._locks_account_first),
        ]

    def __enter__(self) -> "BusyClients":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()

    @property
    def errors(self) -> list[str]:
        return [f"{seen.name}: {error}" for seen in self.seen for error in seen.errors]

    @property
    def transactions(self) -> Counter[str]:
        """By kind of client."""
        found: Counter[str] = Counter()
        for seen in self.seen:
            found[seen.name] += seen.transactions
        return found

    @property
    def longest(self) -> dict[str, float]:
        """The seconds that the slowest transaction of each kind of client took."""
        names = sorted({seen.name for seen in self.seen})
        return {name: max(seen.longest for seen in self.seen if seen.name == name) for name in names}

    def touched(self, first: date, last: date, since: datetime) -> set[str]:
        """Users of whom a row of these days was changed by a transaction that was not over before ``since``."""
        every = [touch for seen in self.seen for touch in seen.touches if touch.over > since]
        return {user for touch in every if any(first <= day <= last for day in touch.days) for user in touch.users}

    def _client(self, name: str, rate: float, work: Work) -> Thread:
        seen = Seen(name)
        self.seen.append(seen)
        return Thread(target=self._live, args=(seen, random.Random(len(self.seen)), rate, work))

    def _live(self, seen: Seen, rng: random.Random, rate: float, work: Work) -> None:
        try:
            with psycopg.connect(self._url, autocommit=True) as connection:
                for text in SESSION:
                    connection.execute(text.encode())
                for _ in ticks(self._over, rate, int(rate * self._at_most)):
                    began = perf_counter()
                    work(connection, rng, seen)
                    seen.longest = max(seen.longest, perf_counter() - began)
                    seen.transactions += 1
        except psycopg.Error as error:
            seen.errors.append(f"{error.sqlstate} {type(error).__name__}: {error}")

    def _collects(self, group: int) -> Work:
        """Single rows, each in a transaction of its own: mostly updates, some new ones, some that move."""

        def work(connection: psycopg.Connection, rng: random.Random, seen: Seen) -> None:
            morning, user, other = self.morning, self._of(rng, group), self._of(rng, group)
            late = bool(morning.late) and rng.random() < 0.02
            day = rng.choice(morning.late) if late else morning.yesterday
            to_day = rng.choice(morning.late if late else morning.days)
            values = {"id": row_id(user, day), "hours": rng.randrange(1, 4000) / 100}
            kind = rng.random()
            users, days = {user_id(user)}, {day}
            if kind < 0.76:
                old = connection.execute(UPDATE.encode(), values)
            elif kind < 0.84:
                new = {"id": uuid4(), "user": user_id(user), "day": day}
                old = connection.execute(INSERT.encode(), values | new)
            elif kind < 0.93:
                old = connection.execute(TO_USER.encode(), values | {"user": user_id(other)})
                users.add(user_id(other))
            else:
                old = connection.execute(TO_DAY.encode(), values | {"day": to_day})
                days.add(to_day)
            for whose, when in old.fetchall():  # the row may have been moved before
                seen.touches.append(Touch(frozenset(users | {whose}), frozenset(days | {when}), datetime.now(UTC)))

        return work

    def _buys(self, connection: psycopg.Connection, rng: random.Random, seen: Seen) -> None:  # noqa: ARG002
        buy(connection, user_id(self._even(rng)), Decimal(rng.randrange(1, 300)) / 100)

    def _locks_row_first(self, connection: psycopg.Connection, rng: random.Random, seen: Seen) -> None:  # noqa: ARG002
        with connection.transaction():
            text = LOCK_ROW.encode()
            row = connection.execute(text, {"id": row_id(self._of(rng, 0), self.morning.yesterday)}).fetchone()
            self._over.wait(HOLD)
            if row is not None:
                connection.execute(LOCK_ACCOUNT.encode(), {"user": row[0]})

    def _locks_account_first(self, connection: psycopg.Connection, rng: random.Random, seen: Seen) -> None:  # noqa: ARG002
        values = {"user": user_id(self._of(rng, 2)), "day": self.morning.yesterday}
        with connection.transaction():
            connection.execute(LOCK_ACCOUNT.encode(), values)
            self._over.wait(HOLD)
            connection.execute(LOCK_ROW_OF.encode(), values)

    def _of(self, rng: random.Random, group: int) -> int:
        """The number of a user whose number leaves ``group`` when divided by 4."""
        return rng.randrange(group or GROUPS, self._users + 1, GROUPS)

    def _even(self, rng: random.Random) -> int:
        return rng.randrange(2, self._users + 1, 2)
