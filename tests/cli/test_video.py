from __future__ import annotations

import pytest


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("video missing", "missing: expected a readable policy file"),
        ("video full", "full/config.json: no such file"),
        ("video {expert} --seed-index 1", "seed_index: got 1; expected 0 to 0"),
    ],
)
def test_bad_input_ends_in_one_line(refused, words, message):
    refused(words, message)
