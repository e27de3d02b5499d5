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

The path of one usage row through a run, module by module, and what carries it::

     1  postgres.detection           the work list: a month of the user differs from what is stored. ``pipeline.run``
                                     checks how much that changes, and hands the list on
     2  pipeline.batches             takes the batch of this user, and calls 3 and 5
     3  pipeline.batch_reading       ``usage`` with its hashes, read without locks; calls 4; all of it: ``inputs``
     4  rating.charges               ``rows``: the charge of each meter, and the cost
     5  pipeline.batch               calls 6 to 12 in one transaction, with their locks, and commits it
     6  credits.allocation           ``rows`` with their draws; ``postings``: what the ledger lacks
     7  pipeline.usage_updates       ``usage_updates``: what is written to the row of usage_daily
     8  pipeline.rollup_targets      ``days`` and ``months``: its rows of user_daily and user_monthly (rollups.sums);
                                     the hashes of ``months`` once the rows of 7 are locked
     9  pipeline.table_diff          which of these differ from the stored rows
    10  postgres.accounts            ``postings`` go to credit_draws, credit_transactions and user_credits
    11  postgres.usage_writeback     ``usage_updates`` go to usage_daily
    12  postgres.table_io            ``days`` and ``months`` that differ go to user_daily and user_monthly
    13  pipeline.end_changes         when all batches are done (pipeline.finalize): the days that batches have touched
                                     go to cluster_daily and cluster_monthly (pipeline.cluster_tables), sums of
                                     user_monthly to rollup.months (postgres.run_log)

A batch marks its days in touched_days (``postgres.cluster_rollups``), from where 13 takes them. A row that cannot be
priced goes to rollup.rejects (``postgres.rejects``), and draws on it are given back. A user whom another transaction
has locked, or whose rows change between 3 and 5, leaves the batch; he is done alone at the end, and his rows are locked
before 3. The change check (``pipeline.change_sums``) does 3 to 9 before the first batch, of users whose covered days
differ; if the work list is one batch, this goes on with the result.

Imports point down this picture and never up; rating, credits and rollups import domain only.
``tests/unit/test_architecture.py`` enforces it.

In rating, credits and rollups every quantity and every amount is an integer of 128 bits that counts units of 10^-10
(``domain.fixed_point_columns``). At the edges they are ``Decimal`` and ``numeric(38,10)``.
"""
