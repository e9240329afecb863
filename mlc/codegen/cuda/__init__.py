"""CUDA C from loops, and its compilation by nvcc: text that reads as if written by hand, and cubins that need no compiler where they run."""
