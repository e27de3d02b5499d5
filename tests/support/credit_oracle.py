"""The rules of prepaid credits as the design has them: plain Python over oracle.py's prices, no code of the product.

`CreditBook` is the database as the job should keep it. `CreditBook.run(facts, options, day)` is one nightly run;
afterwards `book` (its tables now with their credit columns), `ledger`, `deducted`, `accounts`, `modes` and `posted`
are what must stand there. Another program that changes an account changes `accounts` between two runs.
"""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import date
from decimal import Decimal
from fractions import Fraction
from uuid import UUID

from credit_values import (
    NOTHING,
    Account,
    Amount,
    Debt,
    Draw,
    Facts,
    Kind,
    Lot,
    Posted,
    Terms,
    added,
    floored,
    lots,
)
from oracle import ZERO, Book, Figures, Options, Priced, Row, as_read, grouped, month_of, row_order, shown, total

Key = tuple[UUID, str, date]
"""Draws are booked by row, user and month."""
Owed = tuple[Fraction, Fraction, Fraction]
"""uncovered, amount_due and amount_reported."""


@dataclass
class CreditBook:
    """State after a sequence of runs; `covered`, `lots` and `drawn` are the last run's."""

    terms: Terms = field(default_factory=Terms)
    book: Book = field(default_factory=Book)
    accounts: dict[str, Account] = field(default_factory=dict)
    ledger: list[Draw] = field(default_factory=list)
    deducted: dict[UUID, Fraction] = field(default_factory=dict)
    modes: dict[str, list[tuple[date, str | None]]] = field(default_factory=dict)
    posted: list[Posted] = field(default_factory=list)
    adopted: bool = False
    covered: list[date] = field(default_factory=list)
    window: set[date] = field(default_factory=set)
    lots: dict[UUID, Lot] = field(default_factory=dict)
    drawn: dict[UUID, Amount] = field(default_factory=dict)
    debts: dict[tuple[UUID, str, date], Debt] = field(default_factory=dict)

    def run(self, facts: Facts, options: Options, day: date) -> None:
        """One nightly run. Raises as Book.run does, before anything has changed."""
        known, covered, closed = self.book.last_day, self.book.window(options, day), self.closed()
        self.book.run(facts.world, options, day)
        self.take(facts, options, known, [covered], closed)

    def backfill(self, facts: Facts, options: Options, since: date, until: date, yesterday: date) -> None:
        """One backfill: each closed month draws by itself on what is left, oldest first, then the open ones."""
        known, closed = self.book.last_day, self.closed()
        self.take(facts, options, known, self.book.backfill(facts.world, options, since, until, yesterday), closed)

    def closed(self) -> set[date]:
        return {month for month, figures in self.book.months.items() if figures.closed}

    def take(
        self, facts: Facts, options: Options, known: date | None, windows: list[list[date]], closed: set[date]
    ) -> None:
        """Modes, adoption and draws of a run that has priced its rows; ``known``: the furthest day before it;
        ``closed``: the months that were closed before it."""
        self.lots, self.drawn = {}, {}
        self.window = {month for window in windows for month in window}
        last = self.book.last_day
        if last is not None and (known is None or last > known):
            self.keep_modes(facts, last)
        if not self.adopted:
            self.adopt(facts.world.rows)
        touched = set(self.book.priced)
        every = [month for window in windows for month in window]
        # Months before `start` count as closed.
        closed = closed | {month for month in every if options.start is not None and month < month_of(options.start)}
        payable = self.payable(facts, closed.difference(every))
        for self.covered in windows:
            mine = [one for one in self.book.priced.values() if month_of(one.day) in self.covered]
            rows = grouped(sorted(mine, key=lambda one: row_order(one.row)), lambda one: one.user)
            known_to_us = {draw.user for draw in self.ledger if self.covers(draw)}
            owing = set() if closed.issuperset(self.covered) else payable.keys()
            in_debt = {debt.user for debt in self.debts.values() if month_of(debt.day) in self.covered}
            for user in sorted(known_to_us | rows.keys() | owing | in_debt):
                of_user = self.classified(user, rows.get(user, []), facts, options)
                touched |= self.settle(user, of_user, payable.get(user, []) if owing else [])
        self.covered = every
        self.write_rejected_users()
        self.write_deducted(facts, touched)
        self.write_clusters()

    # Debts

    def payable(self, facts: Facts, closed: set[date]) -> dict[str, list[Debt]]:
        """Open debts by user, oldest first: of closed months that this run does not compute, whose rows are still
        there with the same user, day and cluster, and were not invoiced since."""
        found: defaultdict[str, list[Debt]] = defaultdict(list)
        rows = {row.id: row for row in facts.world.rows}
        for debt in sorted(self.debts.values(), key=lambda debt: (debt.day, debt.row.int)):
            row = rows.get(debt.row)
            if row is None or (row.user_id, row.date) != (debt.user, debt.day) or row.id in facts.reported:
                continue
            if (debt.day, debt.user, row.cluster_id) in self.book.user_daily and month_of(debt.day) in closed:
                found[debt.user].append(replace(debt, cluster=row.cluster_id))
        return found

    def pay(self, user: str, account: Account, left: Amount, debts: list[Debt]) -> tuple[Account, set[UUID]]:
        """Later credit settles debts first; the account after it, and the rows that were drawn."""
        corrections: defaultdict[date, Amount] = defaultdict(Amount)
        for debt in debts:
            demand = floored(debt.open, self.terms.scale)
            free = min(demand, left.free)
            amount = Amount(free, min(demand - free, left.purchased))
            if amount == NOTHING:
                continue
            left, month = left - amount, month_of(debt.day)
            self.ledger.append(Draw(debt.row, user, self.next_revision(debt.row, user), debt.day, amount))
            corrections[month] += amount
            self.debts[debt.row, user, debt.day] = replace(debt, open=debt.open - amount.total)
            book = self.book
            for figures in (
                book.user_daily[debt.day, user, debt.cluster],
                book.cluster_daily[debt.day, debt.cluster],
                book.cluster_monthly[month, debt.cluster],
                book.user_monthly[month, user],
            ):
                add(figures, "credits_deducted", amount.total)
            add(book.user_monthly[month, user], "credits_free", amount.free)
            add(book.user_monthly[month, user], "credits_purchased", amount.purchased)
            add(book.user_monthly[month, user], "uncovered", -amount.total)
        self.posted += [Posted(user, -amount.total, month) for month, amount in corrections.items() if amount.total]
        return account.after(added(corrections.values())), {debt.row for debt in debts}

    def owe(self, lots: list[Lot], owed: list[Fraction]) -> None:
        """What a closed month leaves uncovered of some rows is owed."""
        for lot, amount in zip(lots, owed, strict=True):
            if self.book.months[month_of(lot.one.day)].closed and amount:
                key = lot.one.row.id, lot.one.user, lot.one.day
                self.debts[key] = Debt(*key, lot.one.row.cluster_id, amount)

    # Who is drawn

    def keep_modes(self, facts: Facts, last: date) -> None:
        """A run that covers new days notes the mode of each user that is new or differs, who pays so on the last."""
        for user in facts.modes or {}:
            history, mode = self.modes.setdefault(user, []), facts.effective(user, self.terms)
            if not history:
                history.append((date.min, mode))
            elif history[-1][1] != mode:
                history.append((last, mode))

    def mode_on(self, user: str, day: date) -> str | None:
        mode = None
        for valid_from, entry in self.modes.get(user, []):
            if valid_from <= day:
                mode = entry
        return mode

    def kind(self, one: Priced, options: Options) -> Kind:
        """A row with imported draws is prepaid, whatever the history says; unknown modes are due."""
        imported = any((d.row, d.user, d.revision) == (one.row.id, one.user, 0) for d in self.ledger)
        mode = "prepaid" if imported else self.mode_on(one.user, one.day)
        if mode == "prepaid":
            start = self.terms.starting(options)
            return "early" if start is not None and one.day < start else "prepaid"
        return "free" if mode == "free" else "due"

    def classified(self, user: str, rows: Iterable[Priced], facts: Facts, options: Options) -> list[Lot]:
        scales: dict[Kind, int] = {"prepaid": self.terms.scale, "due": options.currency_scale}
        mine = lots([(one, self.kind(one, options)) for one in rows], facts.reported, scales)
        mine = [replace(lot, part=max(ZERO, lot.part - self.elsewhere(lot))) if lot.part else lot for lot in mine]
        assert all(lot.one.user == user for lot in mine)
        self.lots |= {lot.one.row.id: lot for lot in mine}
        return mine

    def elsewhere(self, lot: Lot) -> Fraction:
        """Of a prepaid row that came from a closed month: what its user has drawn on it there."""
        mine = [d for d in self.ledger if (d.row, d.user) == (lot.one.row.id, lot.one.user)]
        there = [d.amount for d in mine if month_of(d.day) not in self.window and self.is_closed(month_of(d.day))]
        return added(there).total if lot.kind == "prepaid" else ZERO

    def is_closed(self, month: date) -> bool:
        return month not in self.book.months or self.book.months[month].closed

    # Adoption

    def adopt(self, rows: Iterable[Row]) -> None:
        """Imports what something else has drawn: free until free_credits_used is exhausted, then purchased."""
        self.adopted = True
        left = {user: most_free(account) for user, account in self.accounts.items()}
        for row in sorted(rows, key=row_order):
            value = self.deducted.get(row.id, ZERO)
            if value == 0 or row.user_id is None or not isinstance(row.date, date):
                continue
            free = min(value, left.get(row.user_id, ZERO))
            left[row.user_id] = left.get(row.user_id, ZERO) - free
            self.ledger.append(Draw(row.id, row.user_id, 0, row.date, Amount(free, value - free)))

    # Draws

    def covers(self, draw: Draw) -> bool:
        """Whether the run decides about a draw: what was imported of days after its last one is for a later run, unless
        the row has come to a day before."""
        lot = self.lots.get(draw.row)
        here = lot is not None and lot.one.user == draw.user
        return month_of(draw.day) in self.covered and (here or draw.day <= (self.book.last_day or draw.day))

    def booked(self, user: str) -> dict[Key, Amount]:
        """The user's draws of the window's months, whatever became of their rows."""
        found: defaultdict[Key, Amount] = defaultdict(Amount)
        for draw in self.ledger:
            if draw.user == user and self.covers(draw):
                found[draw.key] += draw.amount
        return dict(found)

    def kept(self, lot: Lot) -> Amount:
        """What stays as booked and is not this window's: of reported rows all, of early ones what was imported."""
        user = lot.one.user
        mine = [d for d in self.ledger if (d.row, d.user) == (lot.one.row.id, user) and self.covers(d)]
        if lot.reported or user not in self.accounts:
            return added(draw.amount for draw in mine)
        if lot.kind == "early":
            return added(draw.amount for draw in mine if draw.revision == 0)
        return NOTHING

    def settle(self, user: str, mine: list[Lot], debts: list[Debt]) -> set[UUID]:
        """Settles debts, draws, posts and rolls up one user's window; the rows whose draws changed."""
        booked, kept = self.booked(user), {lot.one.row.id: self.kept(lot) for lot in mine}
        account = self.accounts.get(user)
        changed: set[UUID] = set()
        if account is not None:
            ours = added(booked.values()) - added(kept.values())
            account, changed = self.pay(user, account, account.left(ours, self.terms.scale), debts)
            self.draw(mine, account.left(ours, self.terms.scale))
            targets = {lot.key: kept[lot.one.row.id] + self.drawn.get(lot.one.row.id, NOTHING) for lot in mine}
            changed |= self.post(user, account, booked, targets)
        self.debts = {k: d for k, d in self.debts.items() if d.user != user or month_of(d.day) not in self.covered}
        for month, of_month in grouped(mine, lambda lot: month_of(lot.one.day)).items():
            owed = [self.owed(lot, kept[lot.one.row.id]) for lot in of_month]
            self.write_user(user, month, owed)
            self.owe(of_month, [uncovered for uncovered, _, _ in owed])
        return changed

    def draw(self, mine: list[Lot], left: Amount) -> None:
        """Law 3: in row order, free first, never more than there is."""
        for lot in mine:
            if lot.kind == "prepaid" and not lot.reported:
                free = min(lot.part, left.free)
                amount = Amount(free, min(lot.part - free, left.purchased))
                self.drawn[lot.one.row.id] = amount
                left = left - amount

    def post(self, user: str, account: Account, booked: dict[Key, Amount], targets: dict[Key, Amount]) -> set[UUID]:
        """Law 4: differences only. A row newly drawn gets a transaction; other differences one a month."""
        before = {key[0] for key in booked}
        corrections: defaultdict[date, Amount] = defaultdict(Amount)
        posted, changed = NOTHING, set()
        for key in sorted(booked.keys() | targets.keys(), key=str):
            difference = targets.get(key, NOTHING) - booked.get(key, NOTHING)
            if difference == NOTHING:
                continue
            row, _, month = key
            self.ledger.append(Draw(row, user, self.next_revision(row, user), self.day_of(key), difference))
            posted += difference
            changed.add(row)
            if row in before:
                corrections[month] += difference
            else:
                self.posted.append(Posted(user, -difference.total, row))
        net = {month: amount for month, amount in corrections.items() if amount.total}
        self.posted += [Posted(user, -amount.total, month) for month, amount in net.items()]
        self.accounts[user] = account.after(posted)
        return changed

    def next_revision(self, row: UUID, user: str) -> int:
        return max((d.revision for d in self.ledger if (d.row, d.user) == (row, user)), default=0) + 1

    def day_of(self, key: Key) -> date:
        """The row's day where it stands there now, else the latest one booked in that month."""
        lot = self.lots.get(key[0])
        if lot is not None and lot.key == key:
            return lot.one.day
        return max(draw.day for draw in self.ledger if draw.key == key)

    # Figures

    def owed(self, lot: Lot, kept: Amount) -> Owed:
        """What the row adds to uncovered, amount_due and amount_reported; it adds to one of them at most."""
        beyond = max(ZERO, lot.part - kept.total)
        if lot.reported:
            return ZERO, ZERO, beyond
        if lot.kind == "prepaid":
            drawn = self.drawn.get(lot.one.row.id)
            return (beyond if drawn is None else lot.part - drawn.total), ZERO, ZERO
        return ZERO, (lot.part if lot.kind == "due" else ZERO), ZERO

    def net(self) -> dict[Key, Amount]:
        """The ledger by row, user and month."""
        found: defaultdict[Key, Amount] = defaultdict(Amount)
        for draw in self.ledger:
            found[draw.key] += draw.amount
        return dict(found)

    def write_user(self, user: str, month: date, owed: list[Owed]) -> None:
        credits = added(d.amount for d in self.ledger if d.user == user and month_of(d.day) == month and self.covers(d))
        uncovered, due, reported = (total(one[n] for one in owed) for n in range(3))
        self.book.user_monthly[month, user] |= {
            "credits_free": shown(credits.free),
            "credits_purchased": shown(credits.purchased),
            "credits_deducted": shown(credits.total),
            "uncovered": shown(uncovered),
            "amount_due": shown(due),
            "amount_reported": shown(reported),
        }

    def write_rejected_users(self) -> None:
        """Users all of whose rows of a month are rejected: nothing is drawn or owed."""
        for (month, user), figures in self.book.user_monthly.items():
            if month in self.covered and "credits_deducted" not in figures:
                self.write_user(user, month, [])

    def write_deducted(self, facts: Facts, touched: set[UUID]) -> None:
        """usage_daily.credits_deducted: all draws of the row by its present user, those of closed months too."""
        for row in facts.world.rows:
            if row.id in touched:
                mine = [d.amount for d in self.ledger if (d.row, d.user) == (row.id, row.user_id)]
                self.deducted[row.id] = added(mine).total

    def write_clusters(self) -> None:
        """The cluster tables sum the draws of their rows, as booked in the row's month."""
        net = self.net()
        daily: defaultdict[tuple[date, UUID | None], Fraction] = defaultdict(Fraction)
        monthly: defaultdict[tuple[date, UUID | None], Fraction] = defaultdict(Fraction)
        users: defaultdict[tuple[date, str, UUID | None], Fraction] = defaultdict(Fraction)
        for lot in self.lots.values():
            amount = net.get(lot.key, NOTHING).total
            daily[lot.one.day, lot.one.row.cluster_id] += amount
            users[lot.one.day, lot.one.user, lot.one.row.cluster_id] += amount
        for key, amount in users.items():
            self.book.user_daily[key]["credits_deducted"] = shown(amount)
        for (day, cluster), amount in daily.items():
            self.book.cluster_daily[day, cluster]["credits_deducted"] = shown(amount)
            monthly[month_of(day), cluster] += amount
        for place, amount in monthly.items():
            self.book.cluster_monthly[place]["credits_deducted"] = shown(amount)


def add(figures: Figures, name: str, amount: Fraction) -> None:
    """Adds to one figure of a roll-up."""
    before = figures[name]
    assert isinstance(before, Decimal)
    figures[name] = shown(Fraction(before) + amount)


def most_free(account: Account) -> Fraction:
    """How much of what was drawn before can have been free."""
    return min(account.granted, account.used) if account.free_used is None else account.free_used


def exact(value: Decimal | str | int) -> Fraction:
    """An amount as the job reads it: at 10 places."""
    return as_read(Decimal(value))
