"""The graph dialect: tensor operations, one class each, by family."""
