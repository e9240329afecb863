"""Measurements a reader can repeat: exported models, conformance, speed against other engines."""
