"""Work that is shared among processes gives what it gives in one."""

import os
import signal
import threading
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlc.codegen.llvm.forks import processes, shared
from mlc.ir import work

HERE = os.getpid()


def content(number: int) -> bytes:
    """Of any size, none too, and more than a pipe holds."""
    return bytes([number % 251]) * (number * 997 % 300_000)


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 23), st.integers(1, 5))
def test_pieces_come_back_in_order_whoever_does_them(count: int, processes: int) -> None:
    assert shared(content, count, processes) == [content(number) for number in range(count)]


def test_forks_have_a_part_in_it() -> None:
    """Two pieces that each wait until the other is begun."""
    there = [os.pipe(), os.pipe()]

    def meet(number: int) -> bytes:
        os.write(there[number][1], b".")
        os.read(there[1 - number][0], 1)
        return str(os.getpid()).encode()

    found = shared(meet, 2, 2)
    assert len(set(found)) == 2 and str(HERE).encode() in found


def stopped(number: int) -> bytes:
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError


def refused(number: int) -> bytes:
    raise ValueError(number)


@pytest.mark.parametrize("fails", [stopped, refused], ids=["stopped", "refused"])
def test_what_a_fork_fails_at_is_done_here(fails: Callable[[int], bytes]) -> None:
    before = open_files()
    found = shared(lambda number: fails(number) if os.getpid() != HERE else content(number), 40, 4)
    assert found == [content(number) for number in range(40)]
    assert open_files() == before


def open_files() -> set[str]:
    return set(os.listdir("/proc/self/fd"))


def test_an_error_is_raised_and_leaves_no_process() -> None:
    with pytest.raises(ValueError, match="7"):
        shared(lambda number: refused(number) if number == 7 else content(number), 12, 3)
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)


def test_forks_tell_nothing_of_where_they_are() -> None:
    told: list[tuple[str, int]] = []

    def tell(name: str, done: int, total: int) -> None:
        told.append((name, os.getpid()))

    def one(number: int) -> bytes:
        work.at(str(number))
        return b""

    with work.watched(tell):
        shared(one, 20, 3)
    assert {pid for _, pid in told} <= {HERE}


def test_a_process_with_other_threads_is_not_forked() -> None:
    end = threading.Event()
    thread = threading.Thread(target=end.wait, name="somebody's")
    thread.start()
    try:
        assert processes() == 1
    finally:
        end.set()
        thread.join()
