"""From structured kernels to loops and registers, as a schedule says."""
