"""Fingerprints: hashes that the server computes of usage rows, accounts and billing modes, as SQL expressions.

A row's hash is ``hash_record_extended(ROW(…), uuid_hash_extended(id, SEED))``. The seed by row matters: with one seed
for all, the same change of two rows cancels out in a XOR, NaN equals null, and a null that became 0 is not seen. A
user's month has the XOR of its rows' hashes, so that order does not count. PostgreSQL keeps these functions stable
across versions, because hash partitioning depends on them. Two things they do not include: the sign of a numeric, which
is added here, and whether it is NaN or Infinity, which changes only the text of a reject (postgres.rejects).

usage_hash includes what a result is computed from, written_hash what the job itself wrote to the row. Columns of which
the type may differ between the table and what the job computes are cast, so that equal numbers have equal hashes.

The expressions are composed: they list the columns of the configured meters.
"""

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import date

from psycopg import sql

from jobs.domain.billing_periods import last_of, month_spans
from jobs.domain.tables import USAGE_COLUMNS
from jobs.postgres.credit_capabilities import COLUMNS, CreditCapabilities
from jobs.postgres.sql_loader import in_spans, join_columns

SEED = 7_305_829_461_983_240_517
"""Any large constant. Another one makes every stored fingerprint worthless: each month is then computed again."""
ALWAYS_HASHED = [each.column for name, each in USAGE_COLUMNS.items() if name not in ("id", "user_id")]
"""Columns that every fingerprint includes: a fingerprint is of one user, and the id is in the seed."""


@dataclass(frozen=True, slots=True)
class FingerprintDefinition:
    """Which columns the fingerprint of a usage row includes.

    - ``inputs``: the columns that decide what a row costs, with their types
    - ``recorded``: whether total_cost is included
    - ``reported``: whether reported_to_stripe is included
    """

    inputs: tuple[tuple[str, str], ...]
    recorded: bool
    reported: bool

    @property
    def text(self) -> str:
        """The text that rollup.months.fingerprint stores."""
        return json.dumps({"seed": SEED} | asdict(self), separators=(",", ":"))

    @classmethod
    def parse(cls, text: str) -> "FingerprintDefinition | None":
        """Parses ``text`` of a stored month; None where the month was computed with another seed."""
        stored = json.loads(text)
        if stored.get("seed") != SEED:
            return None
        return cls(tuple(map(tuple, stored["inputs"])), stored["recorded"], stored["reported"])

    @property
    def columns(self) -> set[str]:
        """The columns of usage_daily that are needed to compute it."""
        more = {name for name, used in (("total_cost", self.recorded), ("reported_to_stripe", self.reported)) if used}
        return {name for name, _ in self.inputs} | more

    def usage_hash(self) -> sql.Composed:
        """Returns the hash of a row's inputs, as a bigint expression."""
        amounts = [*self.inputs, *([("total_cost", "numeric")] if self.recorded else [])]
        parts: list[sql.Composable] = [
            sql.Identifier(name) for name in (*ALWAYS_HASHED, *(name for name, _ in amounts))
        ]
        if self.reported:
            parts.append(sql.SQL("reported_to_stripe IS TRUE"))  # null and false mean the same
        signed = [name for name, kind in amounts if kind == "numeric"]
        if not signed:
            return _hash(parts)
        # The server's hash of a numeric does not include its sign. Negative numbers are rare: their text is added.
        return sql.SQL("CASE WHEN {} THEN {} ELSE {} END").format(
            join_columns("{} < 0", signed, " OR "), _hash([*parts, join_columns("{}::text", signed)]), _hash(parts)
        )


def usage_hash(of_month: Mapping[date, FingerprintDefinition]) -> sql.Composed:
    """Returns the hash of a row's inputs as SQL, by the fingerprint of the row's month. At least one month."""
    different = sorted(set(of_month.values()), key=lambda each: each.text)
    if len(different) == 1:
        return different[0].usage_hash()
    cases = [
        sql.SQL("WHEN {} THEN {}").format(
            in_spans("date", month_spans(month for month, used in of_month.items() if used == each)), each.usage_hash()
        )
        for each in different
    ]
    return sql.SQL("CASE {} END").format(sql.SQL(" ").join(cases))


def written_hash(total_cost: sql.Composable, credits_deducted: sql.Composable) -> sql.Composed:
    """Returns the hash of the values that the job writes to a row, ``u`` (numeric, as SQL); 0 where it wrote nothing.

    A cost of 0 counts as written, so that a null in its place is a change; credits of 0 do not.
    """
    cost, credits = (sql.SQL("coalesce({}, 0)").format(value) for value in (total_cost, credits_deducted))
    # The hash of a numeric does not distinguish null from 0 here, nor negative from positive costs.
    is_null_or_negative = sql.SQL("coalesce({} < 0, true)").format(total_cost)
    hash_ = _hash([cost, credits, is_null_or_negative, sql.SQL("{} < 0").format(credits)])
    return sql.SQL("CASE WHEN {} IS NOT NULL OR {} <> 0 THEN {} ELSE 0 END").format(total_cost, credits, hash_)


def stored_written_hash(rated: Collection[date], *, shows_credits: bool) -> sql.Composed:
    """Returns ``written_hash`` of the table's columns: total_cost in ``rated`` months, credits_deducted where
    runs write it (``shows_credits``)."""
    nothing = cost = sql.SQL("NULL::numeric").format()
    if rated:
        days = in_spans("date", month_spans(sorted(rated)))
        cost = sql.SQL("CASE WHEN {} THEN total_cost::numeric END").format(days)
    return written_hash(cost, sql.SQL("credits_deducted::numeric").format() if shows_credits else nothing)


def month_of(months: Sequence[date]) -> sql.Composed:
    """Returns the month of a row's day, one of ``months``, as SQL: cheaper than date_trunc, which uses timestamps."""
    *earlier, last = sorted(months)
    cases = [sql.SQL("WHEN date <= {} THEN {}::date").format(last_of(month), month) for month in earlier]
    other = sql.SQL("{}::date").format(last)
    return sql.SQL("CASE {} ELSE {} END").format(sql.SQL(" ").join(cases), other) if cases else other


def account_hash(credits: CreditCapabilities, *, after_draws: bool = False) -> sql.Composed:
    """Returns the hash of the four amounts of an account, ``a``, as a bigint expression; ``after_draws``: as they are
    after the draws ``d``."""
    amounts = {column: credits.amount(column) for column in COLUMNS.values()}
    if after_draws:
        amounts |= {name: sql.SQL("{} + {}").format(amounts[name], more) for name, more in credits.increments.items()}
    signs = [sql.SQL("{} < 0").format(amount) for amount in amounts.values()]
    record = sql.SQL(", ").join([*amounts.values(), *signs])
    return sql.SQL("hash_record_extended(ROW({}), {})").format(record, SEED)


def _hash(parts: Sequence[sql.Composable]) -> sql.Composed:
    """Returns the hash of ``parts`` of a row ``u``."""
    record = sql.SQL(", ").join(parts)
    return sql.SQL("hash_record_extended(ROW({}), uuid_hash_extended(u.id, {}))").format(record, SEED)
