"""`usage-jobs schedule`: the scheduler and what it runs, the health endpoint, metrics; and logging.

No pricing and no SQL: a nightly run is ``pipeline.run``, its proofs are ``jobs.audit``.
"""
