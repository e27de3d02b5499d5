"""The types of the billing domain: money (fixed point), meters, the rate card, billing periods, frame schemas, errors.

This package imports no other package of ours. It uses no database, no file and no clock: callers pass such values as
arguments.
"""
