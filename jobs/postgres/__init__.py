"""Every byte to and from the database, for a run: fingerprints, readers, locks and checks of a batch, writers.

No prices and no allocation (``jobs.compute``), and no order of stages (``jobs.pipeline``). Queries are in ``sql/``, one
file a subject; what is still in ``jobs.store`` moves here.
"""
