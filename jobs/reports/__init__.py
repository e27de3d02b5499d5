"""Files that leave the database: exports, the FOCUS format, statements for customers, the operator's report.

In it: what goes into each file, and its format. Not in it: SQL (postgres), and how options are read (cli). Every figure
is one of the job's own tables; what they do not hold (tiers, prices, list costs) is priced again by ``rated_month``,
which refuses where the sums are not what is stored.
"""
