from __future__ import annotations

import dataclasses

import pytest

from gailfe_jax.io import env_names
from gailfe_jax.io.env_names import means
from gailfe_jax.types import EnvSpec

MINE = EnvSpec("gym:my_env:MyEnv-v0", "my_env:MyEnv-v0", "gymnasium", 2, 2, (-1.0,), (1.0,), 9)
BARE = dataclasses.replace(MINE, name="gym:MyEnv-v0", gymnasium_id="MyEnv-v0")
LIMITED = dataclasses.replace(
    MINE, name=f"{MINE.name}?max_episode_steps=5", gymnasium_id="my_env:MyEnv-v0?max_episode_steps=5"
)
HOPPER = dataclasses.replace(MINE, name="hopper", gymnasium_id="Hopper-v5")
ARM = dataclasses.replace(MINE, name="arm", gymnasium_id=None)


@pytest.mark.parametrize(
    ("spec", "yes", "no"),
    [
        (
            MINE,
            ("gym:my_env:MyEnv-v0", "my_env:MyEnv-v0", "MyEnv-v0", "gym:MyEnv-v0"),
            ("MyEnv-v1", "other:MyEnv-v0", "MyEnv-v0?size=3", "", None),
        ),
        (LIMITED, ("MyEnv-v0?max_episode_steps=5",), ("MyEnv-v0",)),
        (BARE, ("MyEnv-v0", "gym:MyEnv-v0", "mine:MyEnv-v0", "gym:mine:MyEnv-v0"), ("gymnax:MyEnv-v0",)),
        (HOPPER, ("hopper", "Hopper-v5", "gym:Hopper-v5"), ("Hopper-v4", "ant")),
        (ARM, ("arm",), ("arm.toml", "gym:arm", "")),
    ],
)
def test_names_of_one_environment(spec, yes, no, monkeypatch):
    monkeypatch.setattr(env_names, "imported_modules", lambda: ("folder/mine.py",))
    assert [name for name in yes if not means(name, spec)] == []
    assert [name for name in no if means(name, spec)] == []
    assert means("also", spec, ["also"])
