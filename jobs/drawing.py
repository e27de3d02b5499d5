"""The credits of a chunk: draws computed, then decided under the locks of the accounts, and booked (DESIGN section 7).

What was read before a lock may be out of date, so it only tells *who* needs posting. Those users' accounts are then
locked and read again, and so is what the ledger says of them, unless it need not be asked (``steady``). Of whom both
are what they were, what was computed stands; for the others it is done again, and what is booked is the difference to
what was read now, and to nothing older. So a purchase made meanwhile counts, and a chunk whose COMMIT was not answered
books nothing twice.
"""

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, replace

import polars as pl

from jobs.compute import credits, postings
from jobs.parts import Part, after, computed, credited, of
from jobs.plan import Plan
from jobs.steady import own_draws, steady
from jobs.store import accounts, ledger
from jobs.store.database import Connection
from jobs.strange import STRANGE, imports, of_window, strange_rows


class DisturbedError(Exception):
    """Rows or draws are not what they were taken for: the chunk is rolled back, and these users are read anew."""

    def __init__(self, users: frozenset[str]) -> None:
        super().__init__(f"{len(users)} users changed since they were read")
        self.users = users


@dataclass(frozen=True, slots=True)
class Known:
    """What was read of a chunk's users at the start: how they pay, their roll-up, and their draws; ``booked`` is None
    where the ledger was not read. ``first``: nothing was ever booked before this run; ``anew``: users that were read
    again since: of them the ledger is asked in any case."""

    modes: pl.LazyFrame
    standing: pl.LazyFrame | None
    booked: pl.LazyFrame | None
    first: bool = False
    anew: Set[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Drawn:
    """``rows`` with how each is paid; accounts as they were ``before`` and are after posting; ``postings``: what was
    booked, or in a dry run would be; ``changed``: rows written per table; ``strange``: see ``strange_rows``; of users
    of whom user_monthly holds what it should, these ``months``, and the ``rest`` of the rows; ``sole``: of a row whose
    draw is its first the ledger holds that, and nothing else in any month."""

    rows: pl.DataFrame
    before: pl.DataFrame
    accounts: pl.DataFrame
    postings: pl.DataFrame
    changed: Mapping[str, int]
    strange: pl.DataFrame
    months: pl.DataFrame | None
    rest: pl.DataFrame
    sole: bool = False


def drawn(connection: Connection, plan: Plan, run_id: int | None, rows: pl.DataFrame, known: Known) -> Drawn:
    """Draws for priced ``rows``, and books what the ledger lacks; without a run (a dry run) it books nothing.

    Inside the caller's transaction. Raises DisturbedError where a draw that was taken for a row's first is not.
    """
    calm = _calm(connection, plan, rows, known)
    asked = _asked(connection, plan, rows, known, calm)
    parts = [part for part in (calm, asked) if part is not None]
    due = sum(part.due.height for part in parts)
    if run_id is None or not due:
        found = _assembled(plan, parts)
        return replace(found, changed=_would_change(plan, found.postings)) if due else found
    found = replace(_assembled(plan, _under_locks(connection, plan, rows, known, calm, asked)), sole=known.first)
    if found.postings.is_empty():
        return found
    changed = accounts.post(connection, plan.settings, plan.query.read.credits, found.postings, run_id)
    if changed["credit_draws"] != found.postings.height:
        raise DisturbedError(frozenset(found.postings.filter("first")["user_id"]))
    return replace(found, changed=changed)


def _calm(connection: Connection, plan: Plan, rows: pl.DataFrame, known: Known) -> Part | None:
    """The steady users; None where there are none, or where the ledger was read anyway."""
    if known.booked is not None or known.standing is None or rows.is_empty():
        return None
    held = _accounts(connection, plan, rows["user_id"].unique().cast(pl.String))
    how = credits.credited if rows["reported"].any() else credits.credited_anew
    mine = credited(plan, rows, known.modes, held, own_draws(known.standing), how)
    found = steady(plan, mine, held, known.standing.collect(), known.anew)
    if found.users.is_empty():
        return None
    if not found.everybody:
        mine, held = mine.filter(of(found.users)), held.filter(of(found.users))
    due = postings.first_draws(mine.lazy().filter(~plan.is_covered)).collect()
    return Part(mine, held, due, months=found.months)


def _asked(connection: Connection, plan: Plan, rows: pl.DataFrame, known: Known, calm: Part | None) -> Part | None:
    """All other users, with what the ledger says of them; None where there are none."""
    settled = pl.Series("user_id", [], dtype=pl.Categorical) if calm is None else calm.rows["user_id"].unique()
    if calm is not None:
        everybody = calm.rows.height == rows.height
        rows = rows.clear() if everybody else rows.filter(~pl.col("user_id").is_in(settled.implode()))
    booked = known.booked
    if booked is None:
        users = _users(rows, known.standing)
        users = users.filter(~users.is_in(settled.cast(pl.String).implode()))
        if calm is not None and users.is_empty():
            return None
        booked = _booked(connection, plan, users).lazy()
    ours = of_window(booked, rows, plan)
    strange = strange_rows(connection, plan, rows, ours)
    ours = pl.concat([ours, imports(strange).lazy()])
    held = _accounts(connection, plan, _users(rows, ours))
    mine, due = computed(plan, rows, known.modes, held, ours)
    return Part(mine, held, due.with_columns(first=pl.lit(known.first)), booked, strange)


def _under_locks(
    connection: Connection, plan: Plan, rows: pl.DataFrame, known: Known, calm: Part | None, asked: Part | None
) -> list[Part]:
    """The same parts as they are once nobody changes the accounts of those with something due."""
    parts = [part for part in (calm, asked) if part is not None]
    posted = pl.concat([part.due["user_id"] for part in parts]).unique().sort()
    accounts.lock(connection, plan.settings, posted.to_list())
    locked = _accounts(connection, plan, posted)
    same = locked.join(pl.concat([part.held for part in parts]), on=locked.columns, how="semi")["user_id"]
    again = posted.filter(~posted.is_in(same.implode()))
    theirs = again.clear() if asked is None else asked.due["user_id"]
    users = pl.concat([again, theirs]).unique()
    if users.is_empty():
        return parts
    now, strange = _booked(connection, plan, users), pl.DataFrame(schema=STRANGE)
    if asked is not None:
        again, strange = pl.concat([again, _moved(asked, now)]).unique(), asked.strange
    if again.is_empty():
        return parts
    mine, held = rows.filter(of(again)), locked.filter(of(again))
    booked = pl.concat([imports(strange).lazy(), of_window(now.lazy().filter(of(again)), mine, plan)])
    mine, due = computed(plan, mine, known.modes, held, booked)
    return [*(part.without(again) for part in parts), Part(mine, held, due)]


def _moved(asked: Part, now: pl.DataFrame) -> pl.Series:
    """The users with something due of whom the ledger no longer says what it said."""
    theirs = of(asked.due["user_id"].unique())
    now, before = now.filter(theirs), asked.booked.filter(theirs).collect()
    ways = ((now, before), (before, now))
    return pl.concat([one.join(two, on=one.columns, how="anti")["user_id"] for one, two in ways])


def _assembled(plan: Plan, parts: Sequence[Part]) -> Drawn:
    before, due = pl.concat([part.held for part in parts]), pl.concat([part.due for part in parts])
    months = [part.months for part in parts if part.months is not None]
    return Drawn(
        rows=pl.concat([part.rows for part in parts]),
        before=before,
        accounts=after(before, due, plan),
        postings=due,
        changed={},
        strange=pl.concat([part.strange for part in parts]),
        months=pl.concat(months) if months else None,
        rest=pl.concat([part.rows if part.months is None else part.rows.clear() for part in parts]),
    )


def _users(rows: pl.DataFrame, others: pl.LazyFrame | None) -> pl.Series:
    """Ids of the users of ``rows`` and of ``others``."""
    found = [
        rows.lazy().select(pl.col("user_id").cast(pl.String)),
        *([others.select("user_id")] if others is not None else []),
    ]
    return pl.concat(found).unique().collect()["user_id"]


def _booked(connection: Connection, plan: Plan, users: pl.Series) -> pl.DataFrame:
    return pl.concat(ledger.draws(connection, plan.settings, plan.window.months, users.to_list()))


def _accounts(connection: Connection, plan: Plan, users: pl.Series) -> pl.DataFrame:
    return accounts.read(connection, plan.settings, plan.query.read.credits, users.to_list())


def _would_change(plan: Plan, due: pl.DataFrame) -> dict[str, int]:
    held = plan.query.read.credits
    changed = {"credit_draws": due.height, "user_credits": accounts.changed_accounts(due, held)}
    return changed | ({"credit_transactions": accounts.changed_transactions(due)} if held.transactions else {})
