"""Targets that are not mlc's own."""
