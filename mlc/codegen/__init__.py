"""Printers of target code from the loop level."""
