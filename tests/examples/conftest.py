"""What the tests of all examples share."""

from __future__ import annotations

import pytest

from gailfe_jax.cli.main import main
from gailfe_jax.io import user_modules
from tests import toy
from tests.examples.loading import own_registries


@pytest.fixture(autouse=True)
def own_tables(monkeypatch):
    """What an example registers, and the toy tasks, are known in one test only."""
    with own_registries():
        monkeypatch.setattr(user_modules, "_imported", [])
        toy.register()
        yield


@pytest.fixture
def demos_file(tmp_path):
    """Demonstrations of the expert on the cliff."""
    expert = toy.cliff_expert().save(tmp_path / "expert.safetensors")
    path = tmp_path / "demos.npz"
    assert main(f"demos --env cliff --expert {expert} --trajectories 4 --out {path}".split()) == 0
    return str(path)
