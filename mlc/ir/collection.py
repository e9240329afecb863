"""When garbage is collected while IR is made."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def without_collections() -> Iterator[None]:
    """A collection goes through all IR there is and finds nothing: it is cyclic but alive. Of a graph of 4,000 ops they took a seventh of the time of
    compiling it."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
