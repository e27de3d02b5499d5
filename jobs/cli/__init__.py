"""The command line: parser, one function per command, and what a person sees, or with --json a program.

``main`` has exit codes and signals, ``arguments`` the parser, ``commands`` one function per command, ``output`` and its
neighbours tables, JSON and progress. No SQL, no polars, no amount computed here.
"""
