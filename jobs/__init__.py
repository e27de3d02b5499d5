"""usage_daily in, exact cost roll-ups and credit draws out; a run costs what has changed.

The packages, and how data flows through them::

    cli              arguments, exit codes, what a person sees
     ├─ service      `usage-jobs schedule`: scheduler, health endpoint, metrics, logging
     ├─ demo         an embedded server and sample usage
     ├─ reports      exports, FOCUS, statements, the operator's report
     └─ audit        read-only: check, explain, reconcile, watch
         └─ pipeline       one run: plan → detect changes → checks → batches → finalize → summary
             ├─ rating     pure: what each row costs
             ├─ credits    pure: which credit pays for it
             ├─ rollups    pure: sums by user, day and month; differences and their causes
             └─ postgres   every byte to and from the database; sql/: named queries, one file a subject
                 └─ settings    environment, .env.local, settings.toml, rates.csv, read whole or refused
    domain           money, meters, rate card, own tables, frame schemas, errors: all of these import it
    docs             the manual; cli shows it, postgres takes the comments of the tables from it

The path of one usage row, once detection (``postgres.detection``) has found that a month of its user differs:

1. Detection has put the user into a batch of the work list (``domain.work_list``). ``pipeline.batches`` hands it to
   ``pipeline.batch_runner``. ``pipeline.batch_reading`` reads the user's rows with their hashes
   (``postgres.usage_reader``) and what is stored (``postgres.user_state``), and rates the rows
   (``pipeline.row_rating`` → ``rating.charges``). No lock yet.
2. ``pipeline.batch_runner`` opens the transaction and locks the account. ``pipeline.batch_computation`` computes which
   credit pays for the row (``credits.draw_windows`` → ``credits.allocation``), what is posted for it
   (``credits.ledger_entries``), what is written to it (``pipeline.usage_updates``), its day and its month
   (``rollups.sums``).
3. If the row is to be written, it is locked (``postgres.usage_writeback``). The server's fingerprint of the user is
   compared with what was read (``postgres.detection``). ``pipeline.month_hashes`` adds the hashes of the month, and
   ``pipeline.table_diff`` finds what differs from the stored rows.
4. ``pipeline.batch_changes`` writes what differs: ledger, transactions and account (``postgres.accounts``), the row
   (``postgres.usage_writeback``), its day in user_daily and its month in user_monthly (``postgres.table_io``), and the
   day in touched_days (``postgres.cluster_rollups``). A row that cannot be priced goes to rejects instead
   (``postgres.rejects``).
5. ``pipeline.finalize`` ends the run: ``pipeline.end_changes`` sums the touched days of user_daily into cluster_daily
   and cluster_monthly (``pipeline.cluster_tables``), and updates the months.

Imports point down this picture and never up; rating, credits and rollups import domain only.
``tests/unit/test_architecture.py`` enforces it.

In rating, credits and rollups every quantity and every amount is an integer that counts units of 10^-10
(``domain.fixed_point``), of 64 bits where its bounds allow that (``domain.fixed_point_columns``): exact, and as fast as
floats. At the edges they are ``Decimal`` and ``numeric(38,10)``.
"""
