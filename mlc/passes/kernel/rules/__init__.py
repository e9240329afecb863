"""Rules that choose a schedule from a kernel's structure and a target description."""
