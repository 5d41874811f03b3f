from __future__ import annotations

import pytest


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("quickstart --out full", "full: exists and holds no quickstart"),
        ("quickstart --out x --seeds 0", "seeds: got 0"),
    ],
)
def test_bad_input_ends_in_one_line(refused, words, message):
    refused(words, message)
