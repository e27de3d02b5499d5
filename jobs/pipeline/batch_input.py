"""What a batch reads of its users, and their rows rated: everything that is known before an account is looked at."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, fields, replace
from datetime import date
from typing import Any

import polars as pl

from jobs.domain.schemas import CODED, MODES
from jobs.pipeline import foreign_draws
from jobs.pipeline.draw_windows import draws_of_nothing, window_draws
from jobs.pipeline.row_rating import is_priceable, rate_rows
from jobs.postgres import batch_inputs
from jobs.postgres.billing_mode_history import Entry
from jobs.postgres.connections import Connection, transaction
from jobs.postgres.run_scope import RunScope
from jobs.postgres.usage_reader import Reader

KEY = ["user_id", "month"]


@dataclass(frozen=True, slots=True)
class BatchInput:
    """Some ``users``. ``rated``: their rows with costs, in row order; ``unpriced``: rows that cannot be priced;
    ``fingerprints``: by user and month row_count, usage_hash and written_hash of all rows as read; ``modes``: how
    they paid; ``draws``: of the window, adopted rows included; ``entries``: how many the ledger had of each user;
    ``mismatched``: rows whose credits_deducted is not what the draws say; ``months``, ``days``: what user_monthly
    and user_daily hold of them; ``gone``: draws on rows that are no longer there, or another user's; ``debts``:
    what rollup.debts holds (closed and closing months), ``payable``: those that credit can settle, and
    ``closed_months``, ``closed_days``: what user_monthly and user_daily hold of their months; ``odd_debts``: those of
    which the row does not show what the draws say; ``unexplained``: users whose rows show credits that nothing
    explains, and how."""

    users: frozenset[str]
    rated: pl.DataFrame
    unpriced: pl.DataFrame
    fingerprints: pl.DataFrame
    modes: pl.DataFrame
    draws: pl.DataFrame
    entries: pl.DataFrame
    mismatched: pl.DataFrame
    gone: pl.DataFrame
    months: pl.DataFrame
    days: pl.DataFrame
    debts: pl.DataFrame
    payable: pl.DataFrame
    closed_months: pl.DataFrame
    closed_days: pl.DataFrame
    odd_debts: pl.DataFrame
    unexplained: Mapping[str, foreign_draws.Unexplained] = field(default_factory=dict)

    def without(self, users: Collection[str]) -> "BatchInput":
        """The same of everybody but ``users``."""
        if not users:
            return self
        stay = ~of_users(users)
        values = {each.name: getattr(self, each.name) for each in fields(self)}
        frames: Any = {name: value.filter(stay) for name, value in values.items() if isinstance(value, pl.DataFrame)}
        return replace(self, users=self.users - frozenset(users), **frames)

    @property
    def paying(self) -> set[str]:
        """The users of whom an account may decide something: prepaid on some day, or with draws, rows that show some,
        or debts that can be settled."""
        return {
            *self.modes.filter(pl.col("mode") == "prepaid")["user_id"],
            *self.draws["user_id"],
            *self.payable["user_id"],
            *(self.unexplained.keys() & self.users),
        }

    @property
    def new_modes(self) -> list[Entry]:
        """The entries that rollup.billing_modes does not have yet."""
        return self.modes.filter("is_new").select(list(MODES)).rows()

    @property
    def odd(self) -> pl.DataFrame:
        """Rows of the window and of debts (batch_inputs.MISMATCHED) that show credits which nothing explains, or none
        although the ledger has some."""
        return pl.concat([self.mismatched, self.odd_debts]).filter(foreign_draws.ODD)

    @property
    def elsewhere(self) -> pl.DataFrame:
        """Rows that came from a closed month, with what their users have drawn on them there."""
        return self.mismatched.filter(pl.col("elsewhere") != 0).select("id", "user_id", "elsewhere")

    @property
    def rows_read(self) -> int:
        return self.rated.height + self.unpriced.height


def rate_users(
    connection: Connection,
    reader: Reader,
    scope: RunScope,
    users: Collection[str],
    spans: Collection[tuple[date, date]],
) -> pl.DataFrame:
    """The rated rows of ``users`` on the days of ``spans``, inside an open transaction."""
    usage = reader.read(connection, scope.query, scope.query.of_users(users, spans))
    return rate_rows(usage.filter(is_priceable(scope)).lazy(), scope)


def of_users(users: Collection[str]) -> pl.Expr:
    """Rows of ``users``."""
    return pl.col("user_id").cast(pl.String).is_in(sorted(users))


def read_input(
    connection: Connection, reader: Reader, scope: RunScope, users: Collection[str], run_id: int | None = None
) -> BatchInput:
    """Reads ``users`` and rates their rows; nothing is locked by it. Inside or outside a transaction. ``run_id``: of
    the run that is to settle debts."""
    text = scope.query.of_users(users, scope.window.spans())
    with transaction(connection):
        usage = reader.read(connection, scope.query, text)
        modes = batch_inputs.read_billing_modes(connection, scope, users)
        draws = batch_inputs.read_window_draws(connection, scope, users)
        months = batch_inputs.read_months(connection, scope, scope.window.months, users)
        # A user without a stored month has no stored days either, unless a roll-up was lost. In a first run no user has
        # any: looking for each user's days would take as long as reading the usage.
        stored = users if scope.has_user_days else months["user_id"].unique().to_list()
        days = batch_inputs.read_days(connection, scope, scope.window.days, stored)
        good = is_priceable(scope)
        rated = rate_rows(usage.filter(good).lazy(), scope)
        unpriced = usage.filter(~good).with_columns(CODED)
        entries = draws.group_by("user_id").agg(pl.len().alias("entries"))
        draws = window_draws(draws, rated, scope)
        adopted = batch_inputs.read_adopted_elsewhere(connection, scope, _not_prepaid(users, modes))
        shown = ["id", "user_id", "date", "deducted"]
        mismatched = batch_inputs.find_mismatched_rows(
            connection, scope, pl.concat([rated.select(shown), unpriced.select(shown)]), draws
        )
        debts = batch_inputs.read_debts(connection, scope, users)
        payable = _payable(connection, scope, debts, run_id)
        closed_months, closed_days = months.clear(), days.clear()
        if not payable.is_empty():
            debtors = payable["user_id"].unique().to_list()
            closed_months = batch_inputs.read_months(connection, scope, payable["month"].unique().to_list(), debtors)
            closed_days = batch_inputs.read_days(connection, scope, payable["date"].unique().to_list(), debtors)
        read = BatchInput(
            users=frozenset(users),
            rated=rated,
            unpriced=unpriced,
            fingerprints=_fingerprints(usage),
            modes=modes,
            draws=pl.concat([draws, draws_of_nothing(adopted, rated)]),
            entries=entries,
            mismatched=mismatched,
            gone=foreign_draws.gone_draws(draws, usage),
            months=months,
            days=days,
            debts=debts,
            payable=payable,
            closed_months=closed_months,
            closed_days=closed_days,
            odd_debts=batch_inputs.find_mismatched_debts(connection, scope, payable),
        )
        return replace(read, unexplained=foreign_draws.unexplained(connection, scope, read))


def _not_prepaid(users: Collection[str], modes: pl.DataFrame) -> list[str]:
    """Of ``users`` who were not prepaid all the time."""
    by_user = modes.group_by("user_id").agg(pl.col("mode").eq_missing("prepaid").all())
    return sorted(set(users) - set(by_user.filter("mode")["user_id"]))


def _payable(connection: Connection, scope: RunScope, debts: pl.DataFrame, run_id: int | None) -> pl.DataFrame:
    """Of the users of ``debts``; a run that covers no open month settles none."""
    left = debts.filter(pl.col("amount") > pl.col("settled") + pl.col("written_off"))
    if left.is_empty() or not scope.window.open or scope.query.read.credits.account is None:
        return pl.DataFrame(schema=batch_inputs.PAYABLE)
    return batch_inputs.read_payable_debts(connection, scope, left["user_id"].unique().to_list(), run_id)


def _fingerprints(usage: pl.DataFrame) -> pl.DataFrame:
    return usage.group_by("user_id", pl.col("date").dt.month_start().alias("month")).agg(
        pl.len().cast(pl.Int64).alias("row_count"),
        pl.col("usage_hash").bitwise_xor(),
        pl.col("written_hash").bitwise_xor(),
    )
