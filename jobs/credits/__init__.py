"""Which credit pays for which row: payment class, allocation over lots, ledger entries. Pure.

Accounts are read and locked in ``jobs.postgres.accounts``, and draws are posted there.
"""
