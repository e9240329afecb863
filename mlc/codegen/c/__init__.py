"""C source of what surrounds native code in a library."""
