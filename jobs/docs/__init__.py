"""The manual: one Markdown page a topic."""
