"""The reference interpreter of kernels, loops and programs."""
