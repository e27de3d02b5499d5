"""Stable hashes of usage: equal rows give equal hashes on any machine and with any version of polars.

``polars.Expr.hash`` promises neither, and the hash is kept in ``rollup.user_monthly`` to tell years later whether
usage changed. A row's hash mixes its integers; a user-month's is the sum of its rows', so order does not count.
"""

import hashlib
from collections.abc import Iterable

import polars as pl

from jobs.compute.exact import WIDE

WORD = pl.UInt64()


def usage_hash(meters: Iterable[str], recorded: pl.Expr) -> pl.Expr:
    """The hash of one usage row (UInt64): id, day, cluster, quantities other than 0, and ``recorded``."""
    parts = [
        _mixed(_word(pl.col("date").to_physical(), "date")),
        *(_halves("id")),
        *(part.fill_null(0) for part in _halves("cluster_id")),
        *(_unless_zero(pl.col(meter), meter) for meter in sorted(meters)),
        _mixed(_word(recorded, "recorded")).fill_null(0),
    ]
    total = parts[0]
    for part in parts[1:]:
        total = total + part
    return _mixed(total)


def pays_hash() -> pl.Expr:
    """The hash of how a row is paid (UInt64): its class and whether it was reported, tied to the row."""
    how = pl.col("class").cast(WORD) * 2 + pl.col("reported").cast(WORD)
    return _mixed(pl.col("row_hash") + _mixed(how + pl.lit(_stable("pays"), dtype=WORD)))


def account_hash(pays: pl.Expr, numbers: Iterable[str]) -> pl.Expr:
    """``pays`` (a bigint) and an account's ``numbers``, a dot between them: each part can be compared by itself."""
    return pl.concat_str([_mixed(pays.cast(WORD)).cast(pl.String), numbers_of(numbers)], separator=".")


def numbers_of(numbers: Iterable[str]) -> pl.Expr:
    """The hash of an account's ``numbers`` as text; without an account all of these are null."""
    total = pl.lit(0, dtype=WORD)
    for name in numbers:
        # Numbers of any size and sign: their lowest 64 bits.
        word = (pl.col(name) % pl.lit(2**64, dtype=WIDE)).cast(WORD)
        total = total + _mixed(word ^ pl.lit(_stable(name), dtype=WORD)).fill_null(0)
    return _mixed(total).cast(pl.String)


def summed(hashes: pl.Expr) -> pl.Expr:
    """The order-independent hash of several hashes, as a bigint of at least 0."""
    return (hashes.cast(WIDE).sum() % 2**63).cast(pl.Int64)


def of_users(users: Iterable[str]) -> list[int]:
    """A stable hash of each user id, below 2^63."""
    return [_stable(user) for user in users]


def owned(user_hash: pl.Expr, usage: pl.Expr) -> pl.Expr:
    """A user's hash tied to its owner, so that two users who swap equal sums do not cancel out."""
    return _mixed(_mixed(user_hash.cast(WORD)) + usage.cast(WORD))


def _stable(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest()) >> 1


def _word(value: pl.Expr, salt: str) -> pl.Expr:
    return value.cast(pl.Int64).reinterpret(signed=False) ^ pl.lit(_stable(salt), dtype=WORD)


def _unless_zero(value: pl.Expr, salt: str) -> pl.Expr:
    # 0 adds nothing: an optional meter that appears with zeros changes no hash.
    return pl.when(value != 0).then(_mixed(_word(value, salt))).otherwise(pl.lit(0, dtype=WORD))


def _halves(column: str) -> list[pl.Expr]:
    half = pl.lit(2**64, dtype=pl.UInt128)
    value = pl.col(column)
    return [
        _mixed((value // half).cast(WORD) ^ pl.lit(_stable(column + " high"), dtype=WORD)),
        _mixed((value % half).cast(WORD) ^ pl.lit(_stable(column + " low"), dtype=WORD)),
    ]


def _mixed(word: pl.Expr) -> pl.Expr:
    """A bijection of 64-bit words that spreads every bit: multiply by odd constants, fold the high half down."""
    # As an expression that mentions its operand twice a round it would compute that four times.
    return word.map_batches(_spread, return_dtype=WORD)


def _spread(word: pl.Series) -> pl.Series:
    for factor in (0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F):
        product = word * pl.Series([factor], dtype=WORD)
        word = product ^ (product // pl.Series([2**32], dtype=WORD))
    return word
