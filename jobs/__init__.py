"""usage_daily in, exact cost roll-ups and credit draws out; a run costs what has changed.

How data flows, and which package each step is in::

    cli, commands        arguments, exit codes, the clock; show: what a person sees
        └─ pipeline      one run: plan → detect → shrink check → batches → finalize → summary
            ├─ postgres  fingerprints and detection, the readers of usage, locks and checks of a batch, what it writes
            ├─ store     connections, the run lock and the run log, the ledger and accounts, schema, preflight checks
            └─ compute   prices rows, allocates credits, rolls up: frame in, frame out
                 └─ model    words: meters, cards, windows, frame columns, errors

    settings                                  environment, .env.local, settings.toml, rates.csv, read whole or refused
    explain, reconcile (recompute), watch     read-only: how a month adds up, the invariants, closed months
    daemon, schedule, health, metrics, log    `usage-jobs schedule`
    files                                     what a command is asked to write: --metrics-file, --ran-out
    demo                                      an embedded server and sample data

The path of one usage row, once detection (``postgres.detection``) has found that a month of its user differs:

1. ``pipeline.batches`` puts the user into a batch; ``pipeline.batch_input`` reads his rows with their hashes
   (``postgres.usage_reader``) and rates them (``pipeline.rating`` → ``compute.pricing`` and ``costs``). No lock yet.
2. ``pipeline.batch`` opens the transaction, locks his account and computes which credit pays for the row
   (``pipeline.allocation`` → ``compute.credits``, ``compute.lots``, ``compute.postings``).
3. The rows to be written are locked, and the server's fingerprint of the user is compared with what was read.
4. ``pipeline.batch_changes`` writes what differs: ledger, transactions and account (``store.accounts``), the row itself
   (``postgres.usage_writeback``), its day in user_daily, its month in user_monthly, and the day in touched_days. A row
   that cannot be priced goes to rejects instead.
5. ``pipeline.finalize`` regroups the touched days of user_daily into cluster_daily and cluster_monthly
   (``pipeline.cluster_tables``), books the months, and ends the run.

Imports point down this picture and never up; ``tests/test_architecture.py`` enforces it.

Inside ``compute`` every quantity and every amount is an integer that counts units of 10^-10 (see ``jobs.model.scale``),
of 64 bits where its bounds allow that (``jobs.compute.exact``): exact, and as fast as floats. At the edges they are
``Decimal`` and ``numeric(38,10)``.
"""
