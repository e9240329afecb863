"""A schedule that a kernel does not allow."""


class Refused(Exception):
    """Why a level or a leaf cannot be applied: one line, with the names of the kernel's own buffers and loops. The kernel is then half
    rewritten; whoever tries a schedule keeps a clone."""
