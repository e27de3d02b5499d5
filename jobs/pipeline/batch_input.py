"""The input of a batch: what it reads of its users before it locks their accounts, with the rows rated."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, fields, replace
from datetime import date
from typing import Any

import polars as pl

from jobs.domain.schemas import CODED, MODES
from jobs.pipeline import foreign_draws
from jobs.pipeline.draw_windows import make_zero_draws, select_window_draws
from jobs.pipeline.row_rating import is_priceable, rate_rows
from jobs.postgres import batch_inputs
from jobs.postgres.billing_mode_history import Entry
from jobs.postgres.connections import Connection, transaction
from jobs.postgres.run_scope import RunScope
from jobs.postgres.usage_reader import Reader


@dataclass(frozen=True, slots=True)
class BatchInput:
    """What was read of some ``users`` for the months of the run.

    - ``rated``: rows with their costs, in row order; ``rejected``: rows that cannot be priced;
    - ``fingerprints``: by user and month row_count, usage_hash and written_hash of all rows as read;
    - ``billing_modes``: schemas.MODES, with ``is_new``;
    - ``draws``: of the window, adopted ones included (schemas.DRAWS); ``entry_counts``: ledger entries by user;
    - ``vanished_draws``: draws on rows that are deleted, or another user's now;
    - ``mismatched``: rows whose credits_deducted differs from the draws (batch_inputs.MISMATCHED);
    - ``months``, ``days``: stored rows of user_monthly and user_daily;
    - ``debts``: stored rows of rollup.debts, of closed and closing months; ``payable``: debts that credit can settle
      (batch_inputs.PAYABLE); ``mismatched_debts``: those whose row mismatches (batch_inputs.MISMATCHED);
    - ``closed_months``, ``closed_days``: stored rows of user_monthly and user_daily of payable debts;
    - ``unexplained``: why users have credits_deducted that no ledger entry explains.
    """

    users: frozenset[str]
    rated: pl.DataFrame
    rejected: pl.DataFrame
    fingerprints: pl.DataFrame
    billing_modes: pl.DataFrame
    draws: pl.DataFrame
    entry_counts: pl.DataFrame
    mismatched: pl.DataFrame
    vanished_draws: pl.DataFrame
    months: pl.DataFrame
    days: pl.DataFrame
    debts: pl.DataFrame
    payable: pl.DataFrame
    closed_months: pl.DataFrame
    closed_days: pl.DataFrame
    mismatched_debts: pl.DataFrame
    unexplained: Mapping[str, foreign_draws.Unexplained] = field(default_factory=dict)

    def without(self, users: Collection[str]) -> "BatchInput":
        """Returns the input of all users but ``users``."""
        if not users:
            return self
        others = ~of_users(users)
        values = {each.name: getattr(self, each.name) for each in fields(self)}
        frames: Any = {name: value.filter(others) for name, value in values.items() if isinstance(value, pl.DataFrame)}
        return replace(self, users=self.users - frozenset(users), **frames)

    @property
    def account_users(self) -> set[str]:
        """Users whose account may matter: prepaid on some day, or with draws, payable debts or unexplained credits."""
        return {
            *self.billing_modes.filter(pl.col("mode") == "prepaid")["user_id"],
            *self.draws["user_id"],
            *self.payable["user_id"],
            *(self.unexplained.keys() & self.users),
        }

    @property
    def new_billing_modes(self) -> list[Entry]:
        """The entries to append to rollup.billing_modes."""
        return self.billing_modes.filter("is_new").select(list(MODES)).rows()

    @property
    def unexplained_rows(self) -> pl.DataFrame:
        """Mismatched rows, of the window and of debts, that are foreign or empty (batch_inputs.MISMATCHED)."""
        return pl.concat([self.mismatched, self.mismatched_debts]).filter(foreign_draws.IS_UNEXPLAINED)

    @property
    def closed_month_draws(self) -> pl.DataFrame:
        """Rows that moved here from a closed month, with what their user has drawn on them there: ``elsewhere``."""
        return self.mismatched.filter(pl.col("elsewhere") != 0).select("id", "user_id", "elsewhere")

    @property
    def rows_read(self) -> int:
        return self.rated.height + self.rejected.height


def rate_users(
    connection: Connection,
    reader: Reader,
    scope: RunScope,
    users: Collection[str],
    spans: Collection[tuple[date, date]],
) -> pl.DataFrame:
    """Returns the rated rows of ``users`` on the days of ``spans``. Call inside a transaction."""
    usage = reader.read(connection, scope.query, scope.query.rows_of_users(users, spans))
    return rate_rows(usage.filter(is_priceable(scope)).lazy(), scope)


def of_users(users: Collection[str]) -> pl.Expr:
    """Whether a row is of one of ``users``."""
    return pl.col("user_id").cast(pl.String).is_in(sorted(users))


def read_input(
    connection: Connection, reader: Reader, scope: RunScope, users: Collection[str], run_id: int | None = None
) -> BatchInput:
    """Reads ``users`` and rates their rows, without locks. Call inside or outside a transaction.

    ``run_id``: of the run that settles debts.
    """
    text = scope.query.rows_of_users(users, scope.window.spans())
    with transaction(connection):
        usage = reader.read(connection, scope.query, text)
        billing_modes = batch_inputs.read_billing_modes(connection, scope, users)
        draws = batch_inputs.read_window_draws(connection, scope, users)
        months = batch_inputs.read_months(connection, scope, scope.window.months, users)
        # A user without a stored month has no stored days either, unless a roll-up was lost. In a first run no user has
        # any: looking for each user's days would take as long as reading the usage.
        users_with_days = users if scope.has_user_days else months["user_id"].unique().to_list()
        days = batch_inputs.read_days(connection, scope, scope.window.days, users_with_days)
        rated = rate_rows(usage.filter(is_priceable(scope)).lazy(), scope)
        rejected = usage.filter(~is_priceable(scope)).with_columns(CODED)
        entry_counts = draws.group_by("user_id").agg(pl.len().alias("entries"))
        draws = select_window_draws(draws, rated, scope)
        adopted = batch_inputs.read_adopted_elsewhere(connection, scope, _not_always_prepaid(users, billing_modes))
        shown = ["id", "user_id", "date", "deducted"]
        mismatched = batch_inputs.find_mismatched_rows(
            connection, scope, pl.concat([rated.select(shown), rejected.select(shown)]), draws
        )
        debts = batch_inputs.read_debts(connection, scope, users)
        payable = _read_payable(connection, scope, debts, run_id)
        closed_months, closed_days = _read_closed_rollups(connection, scope, payable, months, days)
        read = BatchInput(
            users=frozenset(users),
            rated=rated,
            rejected=rejected,
            fingerprints=_combine_fingerprints(usage),
            billing_modes=billing_modes,
            draws=pl.concat([draws, make_zero_draws(adopted, rated)]),
            entry_counts=entry_counts,
            mismatched=mismatched,
            vanished_draws=foreign_draws.find_vanished_draws(draws, usage),
            months=months,
            days=days,
            debts=debts,
            payable=payable,
            closed_months=closed_months,
            closed_days=closed_days,
            mismatched_debts=batch_inputs.find_mismatched_debts(connection, scope, payable),
        )
        return replace(read, unexplained=foreign_draws.find_unexplained_users(connection, scope, read))


def _not_always_prepaid(users: Collection[str], billing_modes: pl.DataFrame) -> list[str]:
    """Returns those of ``users`` who have, or may have, another billing mode than prepaid."""
    is_prepaid = billing_modes.group_by("user_id").agg(pl.col("mode").eq_missing("prepaid").all())
    return sorted(set(users) - set(is_prepaid.filter("mode")["user_id"]))


def _read_payable(connection: Connection, scope: RunScope, debts: pl.DataFrame, run_id: int | None) -> pl.DataFrame:
    """Reads the open debts of the users of ``debts``. A run that covers no open month settles none."""
    is_open = pl.col("amount") > pl.col("settled") + pl.col("written_off")
    debtors = debts.filter(is_open)["user_id"].unique().to_list()
    if not debtors or not scope.window.open or scope.query.source.credits.account is None:
        return pl.DataFrame(schema=batch_inputs.PAYABLE)
    return batch_inputs.read_payable_debts(connection, scope, debtors, run_id)


def _read_closed_rollups(
    connection: Connection, scope: RunScope, payable: pl.DataFrame, months: pl.DataFrame, days: pl.DataFrame
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Reads the rows of user_monthly and user_daily of ``payable`` debts, with the columns of ``months``, ``days``."""
    if payable.is_empty():
        return months.clear(), days.clear()
    debtors = payable["user_id"].unique().to_list()
    return (
        batch_inputs.read_months(connection, scope, payable["month"].unique().to_list(), debtors),
        batch_inputs.read_days(connection, scope, payable["date"].unique().to_list(), debtors),
    )


def _combine_fingerprints(usage: pl.DataFrame) -> pl.DataFrame:
    """Returns row_count, usage_hash and written_hash by user and month, as the server computes them."""
    return usage.group_by("user_id", pl.col("date").dt.month_start().alias("month")).agg(
        pl.len().cast(pl.Int64).alias("row_count"),
        pl.col("usage_hash").bitwise_xor(),
        pl.col("written_hash").bitwise_xor(),
    )
