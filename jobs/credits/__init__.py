"""Who pays: payment class of each row, allocation of credit over lots, and the ledger entries that follow. Pure.

No account is read or locked here (``jobs.postgres.accounts``), and nothing is posted.
"""
