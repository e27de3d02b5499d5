"""Which credit pays for which row and debt: payment class, allocation over lots, draw windows, ledger entries. Pure.

Accounts are read and locked in ``jobs.postgres.accounts``, and draws are posted there.
"""
