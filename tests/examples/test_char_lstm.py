"""The language model of characters: it learns by heart what it reads, and its windows are what they are said to be."""

import numpy as np
import pytest

from examples import char_lstm


def test_windows_are_read_in_order_and_targets_are_the_characters_behind():
    codes = np.arange(8 * 10 + 3)
    pairs = char_lstm.windows(codes, 4)
    assert len(pairs) == 2
    assert pairs[0][0].shape == pairs[0][1].shape == (4, char_lstm.ROWS)
    assert pairs[0][0][:, 1].tolist() == [10, 11, 12, 13] and pairs[1][0][0, 1] == 14
    assert all((y == x + 1).all() for x, y in pairs)


def test_it_writes_the_text_that_it_has_read(capsys):
    assert char_lstm.main(["--steps", "400"]) < 0.05
    assert "The Zen of Python, by Tim Peters\n\nBeautiful is better than ugly.\n" in capsys.readouterr().out


@pytest.mark.parametrize("arguments", [["--steps", "0"], ["--window", "0"], ["--window", "107"]])
def test_windows_that_the_text_does_not_have_are_refused(arguments, capsys):
    with pytest.raises(SystemExit):
        char_lstm.main(arguments)
    assert "a window of 1 to 106 characters" in capsys.readouterr().err
