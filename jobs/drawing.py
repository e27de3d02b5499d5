"""The credits of a chunk: draws computed, then decided under the locks of the accounts, and booked (DESIGN section 7).

What was read before a lock may be out of date, so it only tells *who* needs posting. Those users' accounts are then
locked and read again, and so is what the ledger says of them, unless it need not be asked (``steady``). Of whom both
are what they were, what was computed stands; for the others it is done again, and what is booked is the difference to
what was read now, and to nothing older. So a purchase made meanwhile counts, and a chunk whose COMMIT was not answered
books nothing twice.
"""

from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass, field, replace

import polars as pl

from jobs.compute import credits, postings
from jobs.compute.exact import Bounds
from jobs.compute.lots import LOTS
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
    where the ledger was not read. ``anew``: users that were read again since: of them it is asked in any case."""

    modes: pl.LazyFrame
    standing: pl.LazyFrame | None
    booked: pl.LazyFrame | None
    anew: Set[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Part:
    """Some users: their credited ``rows``, accounts ``held``, what is ``due`` to be booked (compute.postings), what the
    ledger said of them (``booked``; None: it was not asked), rows that are ``strange``; ``months``: all that
    user_monthly shall hold of them, where that is known already."""

    rows: pl.DataFrame
    held: pl.DataFrame
    due: pl.DataFrame
    booked: pl.LazyFrame | None = None
    strange: pl.DataFrame = field(default_factory=lambda: pl.DataFrame(schema=STRANGE))
    months: pl.DataFrame | None = None

    def without(self, users: pl.Series) -> "Part":
        """The same of everybody but ``users``; rows that are strange stay."""
        rest = ~_of(users)
        months = None if self.months is None else self.months.filter(rest)
        rows, held, due = self.rows.filter(rest), self.held.filter(rest), self.due.filter(rest)
        return replace(self, rows=rows, held=held, due=due, months=months)


@dataclass(frozen=True, slots=True)
class Drawn:
    """``rows`` with how each is paid; accounts as they were ``before`` and are after posting; ``postings``: what was
    booked, or in a dry run would be; ``changed``: rows written per table; ``strange``: see ``strange_rows``; of users
    of whom user_monthly holds what it should, these ``months``, and the ``rest`` of the rows."""

    rows: pl.DataFrame
    before: pl.DataFrame
    accounts: pl.DataFrame
    postings: pl.DataFrame
    changed: Mapping[str, int]
    strange: pl.DataFrame
    months: pl.DataFrame | None
    rest: pl.DataFrame


def drawn(connection: Connection, plan: Plan, run_id: int | None, rows: pl.DataFrame, known: Known) -> Drawn:
    """Draws for priced ``rows``, and books what the ledger lacks; without a run (a dry run) it books nothing.

    Inside the caller's transaction. Raises DisturbedError where a draw that was taken for a row's first is not.
    """
    calm = _calm(connection, plan, rows, known)
    asked = _asked(connection, plan, rows, known, calm)
    parts = [part for part in (calm, asked) if part is not None]
    due = sum(part.due.height for part in parts)
    if run_id is None or not due:
        found = _assembled(plan, parts, {})
        return replace(found, changed=_would_change(plan, found.postings)) if due else found
    found = _assembled(plan, _under_locks(connection, plan, rows, known, calm, asked), {})
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
    computed = _credited(plan, rows, known.modes, held, own_draws(known.standing), how)
    found = steady(plan, computed, held, known.standing.collect(), known.anew)
    if found.users.is_empty():
        return None
    if found.everybody:
        mine = computed
    else:
        mine, held = computed.filter(_of(found.users)), held.filter(_of(found.users))
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
        booked = pl.concat(ledger.draws(connection, plan.settings, plan.window.months, users.to_list())).lazy()
    ours = of_window(booked, rows, plan)
    strange = strange_rows(connection, plan, rows, ours)
    ours = pl.concat([ours, imports(strange).lazy()])
    held = _accounts(connection, plan, _users(rows, ours))
    computed, due = _computed(plan, rows, known.modes, held, ours)
    return Part(computed, held, due, booked, strange)


def _under_locks(
    connection: Connection, plan: Plan, rows: pl.DataFrame, known: Known, calm: Part | None, asked: Part | None
) -> list[Part]:
    """The same parts as they are once nobody changes the accounts of those with something due."""
    parts = [part for part in (calm, asked) if part is not None]
    posted = pl.concat([part.due["user_id"] for part in parts]).unique().sort()
    accounts.lock(connection, plan.settings, posted.to_list())
    locked = _accounts(connection, plan, posted)
    same = locked.join(pl.concat([part.held for part in parts]), on=locked.columns, how="semi")["user_id"]
    moved = [
        _moved(connection, plan, part.due["user_id"].unique(), part.booked)
        for part in parts
        if part.booked is not None and part.due.height
    ]
    again = pl.concat([posted.filter(~posted.is_in(same.implode())), *moved]).unique()
    if again.is_empty():
        return parts
    mine, strange = rows.filter(_of(again)), pl.DataFrame(schema=STRANGE) if asked is None else asked.strange
    fresh = pl.concat(ledger.draws(connection, plan.settings, plan.window.months, again.to_list())).lazy()
    booked = pl.concat([imports(strange).lazy(), of_window(fresh, mine, plan)])
    held = locked.filter(_of(again))
    computed, due = _computed(plan, mine, known.modes, held, booked)
    return [*(part.without(again) for part in parts), Part(computed, held, due)]


def _moved(connection: Connection, plan: Plan, users: pl.Series, booked: pl.LazyFrame) -> pl.Series:
    """Of ``users`` those of whom the ledger no longer says what was ``booked``."""
    now = pl.concat(ledger.draws(connection, plan.settings, plan.window.months, users.to_list()))
    before = booked.filter(pl.col("user_id").is_in(users.implode())).collect()
    ways = ((now, before), (before, now))
    return pl.concat([one.join(two, on=one.columns, how="anti")["user_id"] for one, two in ways])


def _assembled(plan: Plan, parts: Sequence[Part], changed: Mapping[str, int]) -> Drawn:
    before, due = pl.concat([part.held for part in parts]), pl.concat([part.due for part in parts])
    months = [part.months for part in parts if part.months is not None]
    return Drawn(
        rows=pl.concat([part.rows for part in parts]),
        before=before,
        accounts=_after(before, due, plan),
        postings=due,
        changed=changed,
        strange=pl.concat([part.strange for part in parts]),
        months=pl.concat(months) if months else None,
        rest=pl.concat([part.rows if part.months is None else part.rows.clear() for part in parts]),
    )


def _of(users: pl.Series) -> pl.Expr:
    return pl.col("user_id").cast(pl.String).is_in(users.implode())


def _users(rows: pl.DataFrame, others: pl.LazyFrame | None) -> pl.Series:
    """Ids of the users of ``rows`` and of ``others``."""
    found = [
        rows.lazy().select(pl.col("user_id").cast(pl.String)),
        *([others.select("user_id")] if others is not None else []),
    ]
    return pl.concat(found).unique().collect()["user_id"]


def _accounts(connection: Connection, plan: Plan, users: pl.Series) -> pl.DataFrame:
    return accounts.read(connection, plan.settings, plan.query.read.credits, users.to_list())


def _computed(
    plan: Plan, rows: pl.DataFrame, modes: pl.LazyFrame, held: pl.DataFrame, booked: pl.LazyFrame
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Rows with their draws, and what is to be booked, one draw window after another."""
    windows = plan.window.draws
    if len(windows) == 1:
        return _window(plan, rows, modes, held, booked)
    parts = []
    for months in windows:
        here = pl.col("date").dt.month_start().is_in(months)
        part = _window(plan, rows.filter(here), modes, held, booked.filter(here))
        held = _after(held, part[1], plan)
        parts.append(part)
    return pl.concat([rows for rows, _ in parts]), pl.concat([due for _, due in parts])


def _window(
    plan: Plan, rows: pl.DataFrame, modes: pl.LazyFrame, held: pl.DataFrame, booked: pl.LazyFrame
) -> tuple[pl.DataFrame, pl.DataFrame]:
    computed = _credited(plan, rows, modes, held, booked)
    return computed, postings.postings(computed.lazy(), held.lazy(), booked).collect()


def _credited(
    plan: Plan,
    rows: pl.DataFrame,
    modes: pl.LazyFrame,
    held: pl.DataFrame,
    booked: pl.LazyFrame,
    how: Callable[..., pl.LazyFrame] = credits.credited,
) -> pl.DataFrame:
    """One draw window; its credit is what ``held`` has left without its own draws (law 3)."""
    known = Bounds.of(rows, ["total_cost"])
    return how(rows.lazy(), modes, held.lazy(), booked, plan.credit_rules, known).collect()


def _after(held: pl.DataFrame, due: pl.DataFrame, plan: Plan) -> pl.DataFrame:
    """The accounts once ``due`` is booked."""
    sums = due.group_by("user_id").agg(pl.col(lot).sum().alias(f"more_{lot}") for lot in LOTS)
    free, bought = (pl.col(f"more_{lot}").fill_null(0) for lot in LOTS)
    splits = plan.query.read.credits.splits
    return (
        held.join(sums, on="user_id", how="left")
        .with_columns(
            free_used=pl.col("free_used") + free if splits else pl.col("free_used"),
            used=pl.col("used") + bought + (0 if splits else free),
        )
        .select(held.columns)
    )


def _would_change(plan: Plan, due: pl.DataFrame) -> dict[str, int]:
    held = plan.query.read.credits
    changed = {"credit_draws": due.height, "user_credits": accounts.changed_accounts(due, held)}
    return changed | ({"credit_transactions": accounts.changed_transactions(due)} if held.transactions else {})
