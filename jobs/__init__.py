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

The path of one usage row through a run, module by module. ``pipeline.batch_runner`` calls 3 and 10, and
``pipeline.batch_computation`` 5 to 9; 3 calls 4::

     1  postgres.detection           finds that a month of the user differs: the user is on the work list
     2  pipeline.batches             puts the batch of this user to work
     3  pipeline.batch_reading       reads ``usage`` with hashes, and what is stored of the user; takes no locks
     4  rating.charges               ``rows``: the charge of each meter, and the cost
     5  credits.allocation           ``rows`` with their draws: which credit pays
     6  credits.ledger_entries       ``postings``: what the ledger lacks
     7  pipeline.usage_updates       ``usage_updates``: what is written to the row of usage_daily
     8  rollups.sums                 ``days`` and ``months``: its row of user_daily and of user_monthly, the latter with
                                     hashes of batch_computation and pipeline.month_hashes
     9  pipeline.table_diff          which of these differ from the stored rows
    10  pipeline.batch_changes       writes what differs, and marks its day as touched; COMMIT
    11  pipeline.finalize            ends the run, and writes months and the run log
    12  pipeline.end_changes         (called by 11) regroups the touched days into cluster_daily and cluster_monthly

Between 4 and 5 the account is locked (``postgres.accounts``), between 8 and 9 the row of usage_daily
(``postgres.usage_writeback``), and the server's fingerprint of the user is compared with what was read. A single user
who was locked before is locked before 3; a batch that the change check has computed, after 9. A row that cannot be
priced leaves at 3 for rollup.rejects (``postgres.rejects``). ``postgres.cluster_rollups`` marks days for 10, and reads
and removes the marks for 12.

Imports point down this picture and never up; rating, credits and rollups import domain only.
``tests/unit/test_architecture.py`` enforces it.

In rating, credits and rollups every quantity and every amount is an integer of 128 bits that counts units of 10^-10
(``domain.fixed_point_columns``). At the edges they are ``Decimal`` and ``numeric(38,10)``.
"""
