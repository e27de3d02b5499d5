"""The command line: parser, one function per command, and the output as text or, with --json, as JSON.

``main`` handles exit codes and signals, ``arguments`` is the parser, ``commands`` has one function per command,
``output`` and the ``…_output`` modules print tables, JSON and progress. This package has no SQL and no polars, and
computes no amounts.
"""
