"""`usage-jobs schedule`: the scheduler and what it runs, the health endpoint, metrics; and logging.

This package has no pricing and no SQL: ``pipeline.run`` does a nightly run, ``jobs.audit`` checks the invariants.
"""
