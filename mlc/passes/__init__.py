"""What improves and lowers a module, step by step; every pass takes valid IR and leaves valid IR."""
