"""One run: plan → detect changes → checks → batches → finalize → summary, and the approval of a backfill's plan.

``run`` has the order of the stages. No query of a table (``jobs.postgres``), and no formula (``jobs.rating``,
``jobs.credits``, ``jobs.rollups``).
"""
