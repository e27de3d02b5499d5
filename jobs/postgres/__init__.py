"""Every byte to and from the database: connections, errors and retries, readers, writers, the ledger, the run log, the
run lock, the schema, preflight checks.

Queries are in ``sql/``, one file a subject, loaded by ``sql_loader``. No prices and no allocation (``jobs.rating``,
``jobs.credits``), and no order of stages (``jobs.pipeline``).
"""
