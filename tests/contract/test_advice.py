"""What the doctor recommends is a setting that each method has, reads, and takes."""

from __future__ import annotations

from typing import cast

import pytest

from gailfe_jax.analysis.doctor import SYMPTOMS
from gailfe_jax.analysis.health import MOST_ADVICE, Advice, advised, settings_of
from gailfe_jax.config.run import RunSettings
from gailfe_jax.config.tree import leaves, set_values
from gailfe_jax.learners.base import Learner
from gailfe_jax.learners.methods import METHODS, policy_choices, with_policy

CASES = [(name, policy) for name in METHODS for policy in policy_choices(METHODS[name]) or (None,)]
BUILT = [
    *(pytest.param(METHODS[n] if p is None else with_policy(METHODS[n], p), id=f"{n}-{p}") for n, p in CASES),
    pytest.param(set_values(METHODS["gail"], {"reward.spectral_norm": True}), id="gail-spectral"),
    pytest.param(set_values(METHODS["gailfe"], {"constraint.multiplier": "fixed"}), id="gailfe-fixed"),
]


@pytest.mark.parametrize("method", BUILT)
def test_what_is_recommended_exists_is_read_and_can_be_set(method):
    """By the same code that reads flags: it has the right type, lies within its bounds, and goes with the others."""
    run = RunSettings()
    settings, known, of_run = settings_of(method, run), leaves(method), leaves(run)
    tried: set[Advice] = set()
    for symptom in SYMPTOMS:
        if not symptom.applies(settings):
            continue
        said, named = advised(symptom.advice, settings)
        # A symptom that a method can have comes with something to try.
        assert said and 1 <= len(named) <= MOST_ADVICE, symptom.name
        for name in named:
            assert (name in known and known[name].unread is None) or name in of_run, (symptom.name, name)
        tried |= {advice for advice in symptom.advice if advice.setting in named and advice.words(settings)}
    for name, change in sorted(tried, key=str):
        now = settings[name]
        value = {"smaller": _moved(now, 0.5), "larger": _moved(now, 2)}.get(change, change)
        changed = set_values(run if name in of_run else method, {name: value})
        assert leaves(changed)[name].value == value != now, name


def _moved(value, factor):
    """Less or more of a number, or of the numbers of a tuple."""
    if isinstance(value, tuple):
        return tuple(_moved(inner, factor) for inner in value)
    if not isinstance(value, int | float):
        return value
    if value <= 0:
        return value / factor if value else type(value)(factor > 1)
    return type(value)(value * factor)


def test_every_advice_is_one_that_some_method_can_take():
    every = {name for parameter in BUILT for name in settings_of(cast(Learner, parameter.values[0]), RunSettings())}
    assert {advice.setting for symptom in SYMPTOMS for advice in symptom.advice} <= every
