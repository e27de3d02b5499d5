"""The rows of an arm out of the bytes that ``packed`` has the server make of them."""

from collections.abc import Mapping, Sequence
from enum import IntFlag

import polars as pl

from jobs.model.frames import usage_schema
from jobs.model.scale import ONE, PLACES
from jobs.store.usage import UsageQuery

SEPARATOR = "\x1f"
FLAGS = "flags of a row"
"""A column beside the meters' that none of them can have the name of."""
NULLS = {"recorded": -2, "deducted": -(2**63)}
"""As what null travels: no cost that can be taken is below 0, no credits are so far below."""
YEAR_2000 = 10_957
"""From which PostgreSQL counts days, in days since 1970."""
_KINDS: dict[str, tuple[pl.DataType, int]] = {
    "id": (pl.UInt128(), 16),
    "date": (pl.Int32(), 4),
    "cluster_id": (pl.UInt128(), 16),
    FLAGS: (pl.UInt8(), 1),
    "version": (pl.UInt32(), 4),
}
"""What the bytes of a column are, and how many a row has, where that is no Int64."""
_NUMBER = (pl.Int64(), 8)
_CLOSER = pl.Decimal(38, PLACES + 1)
"""A number that is whole at our places when it is rounded to one more has been rounded by nobody: it is that near."""


class Flag(IntFlag):
    NO_CLUSTER, REPORTED, NO_USER = 1, 2, 4


def unpacked(
    query: UsageQuery,
    count: int,
    packed: Mapping[str, bytes],
    users: str | None,
    texts: Sequence[str] = (),
    lines: bytes | None = None,
) -> pl.DataFrame | None:
    """``count`` rows as ``frames.usage_schema``; None where they are not of the usual kind.

    ``packed``: the values of each column, one after the other; ``texts``: what each of ``lines`` holds.
    """
    schema = usage_schema([meter.name for meter in query.meters])
    if not count:
        return pl.DataFrame(schema=schema)
    names = pl.Series("user_id", [users]).str.split(SEPARATOR).explode()
    if len(names) != count or any(len(held) != _kind(name)[1] * count for name, held in packed.items()):
        return None  # somebody's id holds the separator, or a row has none
    series = [as_numbers(name, held, count, _kind(name)[0]) for name, held in packed.items()]
    plain = _plain(pl.DataFrame([names, *series]), query)
    frame = _as_written(plain, query, texts, lines or b"") if texts else _as_rounded(plain)
    return None if frame is None else frame.select(pl.col(name).cast(kind) for name, kind in schema.items())


def as_numbers(name: str, packed: bytes, count: int, kind: pl.DataType | type[pl.DataType] = pl.UInt128) -> pl.Series:
    """``count`` numbers that stand in bytes one after the other, as the server sends them."""
    if not count:
        return pl.Series(name, [], dtype=kind)
    return pl.Series(name, [packed]).bin.reinterpret(dtype=pl.Array(kind, count), endianness="big").explode()


def _kind(name: str) -> tuple[pl.DataType, int]:
    return _KINDS.get(name, _NUMBER)


def _plain(frame: pl.DataFrame, query: UsageQuery) -> pl.DataFrame:
    """With days as days, flags as columns, and the nulls of ids."""

    def has(flag: Flag) -> pl.Expr:
        return (pl.col(FLAGS) & flag.value) != 0

    return frame.with_columns(
        (pl.col("date") + YEAR_2000).cast(pl.Date),
        pl.when(~has(Flag.NO_CLUSTER)).then(pl.col("cluster_id")),
        pl.when(~has(Flag.NO_USER)).then(pl.col("user_id")),
        has(Flag.REPORTED).alias("reported"),
        *([] if query.versions else [pl.lit(None, pl.Int64).alias("version")]),
    )


def _as_rounded(frame: pl.DataFrame) -> pl.DataFrame:
    """The numbers that the server has made (UsageQuery.numbers)."""
    return frame.with_columns(pl.when(pl.col(name) != null).then(pl.col(name)) for name, null in NULLS.items())


def _as_written(frame: pl.DataFrame, query: UsageQuery, texts: Sequence[str], lines: bytes) -> pl.DataFrame | None:
    """The same of numbers as they stand in the table; None where one is negative, too large or too fine: of such the
    server itself has to say what they are."""
    most, counts = query.settings.max_quantity, list(query.counts())
    numbers = None if b"-" in lines else _numbers(texts, lines)
    if numbers is None or any(len(column) != frame.height or (_most(column) >= most * ONE) for column in numbers):
        return None
    if any(_least(frame[name]) < 0 or _most(frame[name]) > most for name in counts):
        return None
    quantities = {meter.name: pl.col(meter.name).fill_null(0) for meter in query.meters}
    quantities |= {name: quantities[name] * ONE for name in counts}
    deducted = pl.col("deducted").fill_null(0) if "deducted" in texts else pl.lit(0, pl.Int64)
    return frame.with_columns(numbers).with_columns(
        deducted.alias("deducted"),
        *(pl.when(pl.col("date") >= query.since[name]).then(units).otherwise(0) for name, units in quantities.items()),
    )


def _numbers(texts: Sequence[str], lines: bytes) -> list[pl.Series] | None:
    """Numbers in units of 10^-10 by column; None where one has no such number, or would have to be rounded."""
    try:
        parsed = pl.read_csv(lines, has_header=False, schema=dict.fromkeys(texts, _CLOSER))
    except pl.exceptions.ComputeError:
        return None  # NaN, Infinity, or more digits than anything has that can be taken
    closer = [column.to_physical() for column in parsed]
    narrow = [column.cast(pl.Int64, strict=False) for column in closer]
    units = [column // 10 for column in narrow]
    same = (
        column.null_count() == wide.null_count() and (column == unit * 10).all()
        for column, wide, unit in zip(narrow, closer, units, strict=True)
    )
    return units if all(same) else None


def _least(column: pl.Series) -> int:
    least = column.min()
    return least if isinstance(least, int) else 0


def _most(column: pl.Series) -> int:
    most = column.max()
    return most if isinstance(most, int) else 0
