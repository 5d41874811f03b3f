from __future__ import annotations

import json
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gailfe_jax.errors import GailfeError
from gailfe_jax.training.manifest import (
    Damaged,
    check_config,
    describe,
    named_leaves,
    plain_config,
    read_config,
    read_manifest,
    write_config,
    write_manifest,
)

SAVED = {"env": "hopper", "algo": {"name": "gail", "hidden": [100, 100], "lr": 3e-4}, "steps": 10}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"env": "walker2d"}, "field env is 'hopper' in the checkpoint and 'walker2d' now"),
        ({"algo": {"name": "gail", "hidden": [64, 9], "lr": 3e-4}}, r"algo.hidden is \[100, 100\] .* \[64, 9\] now"),
        ({"algo": {"name": "gail", "hidden": [100, 100]}}, "algo.lr is 0.0003 in the checkpoint and absent now"),
        ({"extra": None}, "extra is not in the checkpoint and None now"),
        ({"steps": 10.0}, "steps is 10 in the checkpoint and 10.0 now"),
        # What is read because another value changed comes first by name, and is not the cause.
        ({"algo": {"fade": 1, "name": "gail", "hidden": [64, 9]}}, r"algo.hidden is \[100, 100\] .* \[64, 9\] now"),
    ],
)
def test_check_config_names_the_field_and_both_values(change, message):
    with pytest.raises(GailfeError, match=message):
        check_config(SAVED, SAVED | change)


def test_check_config_accepts_what_is_equal():
    same = {"steps": 10, "algo": {"lr": 3e-4, "hidden": (100, 100), "name": "gail"}, "env": "hopper"}
    check_config(SAVED, same)
    check_config(SAVED, same | {"steps": 20, "algo": {"lr": 1.0}}, ignore=("steps", "algo"))
    with pytest.raises(GailfeError, match="algo"):
        check_config(SAVED, same | {"algo": {"lr": 1.0}}, ignore=("alg", "steps"))


def test_leaves_are_named_by_their_place_and_described_by_shape_and_type():
    state = {"a": jnp.zeros((2, 3)), "b": [jax.random.key(0), np.int8(1)], "c": None}
    found = {name: str(describe(leaf)) for name, leaf in named_leaves(state)}
    assert found == {"['a']": "float32[2, 3]", "['b'][0]": "key<fry>[]", "['b'][1]": "int8[]"}
    with pytest.raises(GailfeError, match=r"^state leaf \['a'\]: expected an array, got str$"):
        list(named_leaves({"a": "text"}))


def test_a_seal_breaks_with_any_change(tmp_path):
    write_manifest(tmp_path, {"step": 3, "leaves": (1, 2)})
    assert read_manifest(tmp_path) == {"step": 3, "leaves": [1, 2]}
    text = (tmp_path / "manifest.json").read_text()
    for changed in (text.replace('"step": 3', '"step": 4'), text[:-1], "[]", ""):
        (tmp_path / "manifest.json").write_text(changed)
        assert read_manifest(tmp_path) is None
    assert read_manifest(tmp_path / "none") is None


def test_the_configuration_is_the_one_that_the_manifest_knows(tmp_path):
    config = plain_config({"hidden": (64, 64), "limit": math.inf})
    assert config == {"hidden": [64, 64], "limit": math.inf}
    write_manifest(tmp_path, {"config_sha256": write_config(tmp_path, config)})
    assert read_config(tmp_path) == config
    (tmp_path / "config.json").write_text(json.dumps({"hidden": [64, 65], "limit": math.inf}))
    with pytest.raises(Damaged, match="does not match the manifest"):
        read_config(tmp_path)
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(Damaged, match="unreadable"):
        read_config(tmp_path)
    with pytest.raises(GailfeError, match=r"^configuration: expected values that JSON can hold"):
        plain_config({"odd": object()})
