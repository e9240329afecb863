"""Damaged and hostile files through the command line: `python -m benchmarks.hostile --count 5000 --seed 0`."""
