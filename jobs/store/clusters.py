"""Names of clusters. hopsworks_clusters holds secrets too: no statement of ours reads more than id and name."""

import polars as pl

from jobs.settings import Settings
from jobs.store.database import Connection
from jobs.store.preflight import Source
from jobs.store.statements import source, statement


def names(connection: Connection, settings: Settings, held: Source) -> pl.DataFrame:
    """cluster_id (UInt128) and cluster_name of every cluster; none where the table cannot be read."""
    rows: list[tuple[str, str]] = []
    if held.has_clusters:
        text = statement("cluster_names", clusters=source(settings, "hopsworks_clusters"))
        rows = connection.execute(text).fetchall()
    return pl.DataFrame(
        {
            "cluster_id": [int(id_.replace("-", ""), 16) for id_, _ in rows],
            "cluster_name": [name for _, name in rows],
        },
        schema={"cluster_id": pl.UInt128, "cluster_name": pl.String},
    )
