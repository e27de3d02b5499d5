"""One run: plan → detect → check → batches → finalize → summary, and the approval of a backfill's plan.

``run`` has the order of the stages. No SQL here (``jobs.postgres``), no formula (``jobs.compute``).
"""
