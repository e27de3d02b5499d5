"""The words of the business: money (fixed point), meters, the rate card, billing periods, frame schemas, errors.

Imports nothing of ours. No database, no file, no clock: what is needed of these comes as an argument.
"""
