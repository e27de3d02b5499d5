"""The command line. Everything of a command is in one place, where ``@command`` stands.

``main`` handles exit codes and signals, ``arguments`` lists the commands and makes the parser, ``command`` and
``options`` are what definitions consist of, ``output`` prints results as text or, with --json, as JSON.

No SQL, no polars, no computed amounts. Slow imports are inside functions: --help imports all of these modules.
"""
