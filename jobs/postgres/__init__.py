"""All access to the database: connections, errors and retries, readers, writers, the ledger, the run log, the run lock,
the schema, preflight checks.

Queries are in ``sql/``, one file a subject, loaded by ``sql_loader``. Prices, allocation and the order of stages are
elsewhere (``jobs.rating``, ``jobs.credits``, ``jobs.pipeline``).

SQL is put together in Python only where a named query cannot express it: lists of columns, conditions that depend on
the columns or months at hand, DDL of configured meters, and statements without a table. Values in a query for COPY or
connectorx are literals, because neither takes bound values.
"""
