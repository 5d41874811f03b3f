from __future__ import annotations

import pytest


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("bench physics --env nonsense", "env: unknown task 'nonsense'"),
        ("bench train --repeats 0", "repeats: got 0"),
        ("bench physics --num-envs 0", "num_envs: got (0,)"),
        ("bench physics --env brax:fast", "env: brax:fast has no bare engine"),
    ],
)
def test_bad_input_ends_in_one_line(refused, words, message):
    refused(words, message)
