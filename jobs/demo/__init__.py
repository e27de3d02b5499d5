"""`usage-jobs demo`: an embedded PostgreSQL server, sample usage, and two runs on it.

Nothing of it is needed to bill; the server comes with the extra ``[demo]``.
"""
