"""The image: what the Dockerfile says (quick), and what it makes (minutes; only with -m container)."""
