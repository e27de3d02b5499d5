"""What the application's tables offer: columns of meters, optional tables, numbers of accounts and overrides."""

from collections.abc import Mapping
from dataclasses import dataclass

from psycopg import sql

from jobs.domain.meters import Meter
from jobs.postgres.catalog import BINARIES, INTEGERS, Catalog
from jobs.postgres.connections import Connection
from jobs.postgres.credit_capabilities import CreditCapabilities, find_capabilities
from jobs.postgres.sql_loader import app_table, compose
from jobs.settings import Settings

Counts = Mapping[str, tuple[int | None, int | None]]
"""Rows of ``accounts`` and ``overrides``, now and in the last finished run; None: no such table, or not counted."""


@dataclass(frozen=True, slots=True)
class SourceCapabilities:
    """What a run can read.

    - ``meters``: the meters that have a column
    - ``types``: types of the meters' columns, by column
    - ``columns``: the columns of usage_daily that this role may read
    - ``rows_by_index``: whether usage_daily has an index that begins with id
    - ``integers``, ``binaries``: meters whose column has an integer or a binary floating-point type
    - ``cost_scale``: the decimals of usage_daily.total_cost; None: no limit
    - ``overrides``: the columns of user_pricing_overrides; None: no such table
    """

    meters: tuple[Meter, ...]
    types: Mapping[str, str]
    columns: frozenset[str]
    rows_by_index: bool
    integers: frozenset[str]
    binaries: frozenset[str]
    cost_scale: int | None
    has_clusters: bool
    has_users: bool
    overrides: frozenset[str] | None
    credits: CreditCapabilities


def find_source(catalog: Catalog, settings: Settings, *, has_clusters: bool, has_users: bool) -> SourceCapabilities:
    """Returns what the catalog shows; whether clusters and users can be used is known from the checks of columns."""
    usage, overrides = catalog.source.get("usage_daily", {}), catalog.source.get("user_pricing_overrides")
    meters = tuple(meter for meter in settings.meters if meter.column in usage)
    types = {meter.name: usage[meter.column].type for meter in meters}
    return SourceCapabilities(
        meters=meters,
        types={meter.column: types[meter.name] for meter in meters},
        columns=frozenset(column.name for column in usage.values() if "SELECT" in column.rights),
        rows_by_index=bool(catalog.server["usage_by_id"]),
        integers=frozenset(name for name, kind in types.items() if kind in INTEGERS),
        binaries=frozenset(name for name, kind in types.items() if kind in BINARIES),
        cost_scale=usage["total_cost"].scale if "total_cost" in usage else None,
        has_clusters=has_clusters,
        has_users=has_users,
        overrides=None if overrides is None else frozenset(overrides),
        credits=find_capabilities(catalog),
    )


def count_inputs(connection: Connection, settings: Settings, source: SourceCapabilities) -> Counts:
    """Counts the rows of accounts and of price overrides, and reads what the last finished run counted."""
    tables = {
        "accounts": ("user_credits", source.credits.account),
        "overrides": ("user_pricing_overrides", source.overrides),
    }
    # A table that does not exist cannot be named in the query.
    parts = {
        name: sql.SQL("NULL::bigint" if columns is None else "(SELECT count(*) FROM {})").format(
            app_table(settings, table)
        )
        for name, (table, columns) in tables.items()
    }
    [counts] = connection.execute(compose("preflight.count_inputs", settings, **parts))
    return dict(zip(tables, zip(counts[:2], counts[2:], strict=True), strict=True))
