"""Kernels with named loops, schedules as data, and the program that calls kernels."""
