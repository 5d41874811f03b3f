"""Demonstrations on the cliff, and runs that learn from them."""

from __future__ import annotations

import pytest

from gailfe_jax.config.run import DemoSettings
from gailfe_jax.training.loop import train
from tests.toy import cliff_expert
from tests.training.cliff import ENV, EVALUATIONS, METHOD, settings


@pytest.fixture(scope="session")
def demos_file(tmp_path_factory):
    """Four trajectories of the expert and eight failures."""
    from tests.tiny import toy_demonstrations

    path = tmp_path_factory.mktemp("demos") / "demos.npz"
    toy_demonstrations(ENV, cliff_expert(), trajectories=4, failures=8).save(path)
    return path


@pytest.fixture(scope="session")
def expert_file(tmp_path_factory):
    """The expert, for methods that ask it."""
    return str(cliff_expert().save(tmp_path_factory.mktemp("expert") / "expert.safetensors"))


@pytest.fixture(scope="session")
def go(demos_file):
    """`go(out, run, method, **options)` trains the shared run, or another like it."""

    def start(out, run=None, method=METHOD, env=ENV, **options):
        demos = DemoSettings(demos=str(demos_file)) if method.needs_demonstrations else None
        return train(method, env, run or settings(), out=out, demos=demos, **options)

    return start


@pytest.fixture(scope="module")
def whole(quick_programs, go, tmp_path_factory):
    """An uninterrupted run: its result."""
    return go(tmp_path_factory.mktemp("runs") / "whole", settings(tensorboard=True))


@pytest.fixture(scope="module")
def half(quick_programs, go, tmp_path_factory):
    """The folder of a run that ended after half the steps."""
    return go(tmp_path_factory.mktemp("runs") / "half", settings(EVALUATIONS // 2)).run_dir
