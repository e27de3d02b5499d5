"""Laws 2 to 5 on generated histories: a Hypothesis state machine drives a real database and the credit oracle.

A step is something that happens between two nights, or a night. After each run all figures are compared, the laws
asked in SQL, and the run repeated; at the end a second database with only the final facts must come to the same.
MACHINE_SEQUENCES histories of MACHINE_STEPS steps are made, half of each shape, from MACHINE_SEED on: each seed is a
test of its own, so that one history is run again by MACHINE_SEED=its seed with MACHINE_SEQUENCES=1.
"""

import os
import tempfile
from dataclasses import replace
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from conftest import Databases
from counts import count
from credit_cases import AMOUNTS, COSTS, FLAGS, HOURS, INDEX, MODES, PRICES, STORED, Setup, cards, days, setups
from credit_cases import accounts as new_accounts
from credit_cases import overrides as new_overrides
from credit_cases import rows as new_rows
from credit_trial import CreditTrial
from credit_values import Account
from credit_world import MOVES
from histories import ONE_HISTORY
from hypothesis import seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test
from oracle import Row
from worlds import Shape

SEQUENCES = count("MACHINE_SEQUENCES")
STEPS = int(os.environ.get("MACHINE_STEPS", "20"))
SEED = int(os.environ.get("MACHINE_SEED", "0"))
NIGHTS = max(6, STEPS * 2 // 5)
"""Runs in a history at most, each of them made twice; the last one, beside a fresh database, aside."""
RECONCILE = True
"""Whether `usage-jobs reconcile` is asked after each run."""
SETTINGS = settings(ONE_HISTORY, stateful_step_count=STEPS)


class Credits(RuleBasedStateMachine):
    """Rules between nights change the facts; rules of nights run the job. ``databases`` and ``shape`` come from below.

    The rule that comes first by its name makes no run: the simplest example, which costs nothing, repeats it.
    """

    databases: Databases
    shape: Shape

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.trial: CreditTrial | None = None
        self.nights = 0

    @initialize(data=st.data(), days=st.sampled_from([0, 0, 1, 2, -10]), rehearsed=st.booleans())
    def begin(self, data: st.DataObject, days: int, *, rehearsed: bool) -> None:
        setup = data.draw(setups(self.shape))
        self.trial = CreditTrial(self.databases, Path(self.folder.name), setup, reconcile=RECONCILE)
        if not setup.quiet:
            self.night(self.trial.next_day(days), dry_first=rehearsed)

    @property
    def made(self) -> CreditTrial:
        assert self.trial is not None
        return self.trial

    @property
    def setup(self) -> Setup:
        return self.made.setup

    def teardown(self) -> None:
        try:
            if self.trial is not None and not self.setup.quiet:
                self.trial.finish()
        finally:
            if self.trial is not None:
                self.trial.close()
            self.folder.cleanup()

    def night(self, day: date, *, dry_first: bool = False) -> None:
        """Up to NIGHTS times: Hypothesis also makes histories of hardly anything but nights.

        A third of it where each user is a batch, which takes ten times as long.
        """
        self.nights += 1
        if self.nights <= (NIGHTS // 3 if self.setup.batch_rows == 1 else NIGHTS):
            (self.made.rehearsal if dry_first else self.made.night)(day)

    def row(self, n: int) -> Row | None:
        """One of the rows there are."""
        rows = sorted(self.made.others.rows.values(), key=lambda row: row.id)
        return rows[n % len(rows)] if rows else None

    def alter(self, n: int, **values: Any) -> None:
        if (row := self.row(n)) is not None:
            self.made.others.change(row, **values)

    # Usage

    @rule(n=INDEX, data=st.data())
    def change_cost(self, n: int, data: st.DataObject) -> None:
        self.alter(n, total_cost=data.draw(st.one_of(st.none(), COSTS[self.shape])))

    @rule(n=INDEX, data=st.data())
    def change_quantity(self, n: int, data: st.DataObject) -> None:
        self.alter(n, quantities={"cpu_hours": data.draw(HOURS[self.shape]), "storage_gb": data.draw(STORED)})

    @rule(data=st.data(), size=st.integers(2, 5))
    def collect(self, data: st.DataObject, size: int) -> None:
        one = new_rows(self.shape, self.made.next_day(0), self.setup.users)
        for row in data.draw(st.lists(one, min_size=size, max_size=size)):
            if row.id not in self.made.others.rows:
                self.made.others.put(row)

    @rule(n=INDEX)
    def delete(self, n: int) -> None:
        if (row := self.row(n)) is not None:
            self.made.others.delete(row)

    @rule(n=INDEX, data=st.data())
    def move_to_another_day(self, n: int, data: st.DataObject) -> None:
        self.alter(n, date=data.draw(days(self.made.next_day(0))))

    @rule(n=INDEX, user=INDEX)
    def move_to_another_user(self, n: int, user: int) -> None:
        self.alter(n, user_id=self.setup.users[user % len(self.setup.users)])

    @rule(n=INDEX, data=st.data())
    def move_to_another_cluster(self, n: int, data: st.DataObject) -> None:
        self.alter(n, cluster_id=data.draw(st.sampled_from([None, *self.made.others.clusters])))

    @rule(n=INDEX, column=st.sampled_from(["cpu_hours", "total_cost"]))
    def spoil(self, n: int, column: str) -> None:
        """A row that is to be rejected; see heal."""
        bad = {"total_cost": Decimal(-1)} if column == "total_cost" else {"quantities": {"cpu_hours": Decimal(-1)}}
        self.alter(n, **bad)

    @rule(data=st.data())
    def heal(self, data: st.DataObject) -> None:
        for row in list(self.made.others.rows.values()):
            if row.quantities.get("cpu_hours") == -1:
                self.made.others.change(row, quantities={"cpu_hours": data.draw(HOURS[self.shape])})
            if row.total_cost == -1:
                self.made.others.change(row, total_cost=data.draw(COSTS[self.shape]))

    @precondition(lambda self: self.shape == "B")
    @rule(n=INDEX, reported=st.sampled_from([True, True, False]))
    def report_to_stripe(self, n: int, reported: bool) -> None:
        """Every third row, as of a month that was billed."""
        rows = sorted(self.made.others.rows.values(), key=lambda row: row.id)
        for row in rows[n % 3 :: 3]:
            self.made.others.report(row, reported=reported)

    # Prices

    @rule(price=PRICES)
    def change_price(self, price: Decimal) -> None:
        self.made.configure(replace(self.made.options, cards=cards(price)))

    @rule(data=st.data())
    def change_price_of_a_user(self, data: st.DataObject) -> None:
        others = self.made.others
        one = data.draw(new_overrides(self.setup.season, self.setup.users, self.shape))
        if one.id not in {known.id for known in others.overrides}:
            others.override(one)

    # Users and their accounts

    @rule(n=INDEX, kind=st.sampled_from(["purchase", "purchase", "grant", *MOVES]), data=st.data())
    def move_credit(self, n: int, kind: str, data: st.DataObject) -> None:
        """Another client sells, grants, refunds or uses credit."""
        users = sorted(self.made.others.credits.accounts)
        self.made.others.move(users[n % len(users)], kind, data.draw(AMOUNTS[self.shape]))

    @rule(data=st.data())
    def open_account(self, data: st.DataObject) -> None:
        others = self.made.others
        for user in self.setup.users:
            if user not in others.credits.accounts:
                made: tuple[Account, dict[str, Decimal | None]]
                made = data.draw(new_accounts(self.shape, counts_free=self.setup.counts_free))
                others.open_account(user, *made)

    @rule(n=INDEX, data=st.data())
    def switch_mode(self, n: int, data: st.DataObject) -> None:
        user = self.setup.users[n % len(self.setup.users)]
        self.made.others.set_user(user, data.draw(MODES[self.shape]), data.draw(FLAGS))

    # Nights

    @rule(days=st.sampled_from([1, 1, 2, 5, 10]))
    def run(self, days: int) -> None:
        self.night(self.made.next_day(days))

    @rule(days=st.sampled_from([0, 0, 1, 3, 31]))
    def run_for_an_earlier_day(self, days: int) -> None:
        self.night(self.made.next_day(-days))

    @rule(days=st.sampled_from([-1, 0, 1, 2, 3]))
    def run_at_the_month_end(self, days: int) -> None:
        """Around the days on which a month closes."""
        self.night(self.made.closing_day(days))

    @rule(back=st.sampled_from([0, 20, 40, 70, 100]), months=st.sampled_from([0, 0, 1, 2]))
    def correct_the_past(self, back: int, months: int) -> None:
        """A backfill: mostly of closed months, also of months before the first, and of open ones beside."""
        self.nights += 2
        if self.nights <= NIGHTS and self.made.others.credits.book.last_day is not None:
            since = self.made.next_day(-back)
            self.made.backfill(since, min(since + timedelta(days=30 * months), self.made.next_day(0)))

    @rule(days=st.sampled_from([0, 1, 5]))
    def run_dry_first(self, days: int) -> None:
        self.night(self.made.next_day(days), dry_first=True)


def machine(databases: Databases, shape: Shape) -> type[Credits]:
    return type(f"Credits{shape}", (Credits,), {"databases": databases, "shape": shape})


@pytest.mark.database
@pytest.mark.parametrize("number", range(SEED, SEED + SEQUENCES))
def test_whatever_happens_the_ledger_is_what_the_oracle_says(databases: Databases, number: int) -> None:
    made = machine(databases, "A" if number % 2 == 0 else "B")
    run_state_machine_as_test(seed(number)(made), settings=SETTINGS)
