"""The edge: connections, reads and writes. SQL stands in ``sql/``, one named statement a file.

Nothing here computes a price; nothing here is imported by ``compute``.
"""
