from __future__ import annotations

import pytest

from gailfe_jax.data.trajectories import Demonstrations


def test_demos_writes_what_it_says(demos_file, expert_file, capsys):
    demonstrations = Demonstrations.load(demos_file, expect_env="Hopper-v5")
    assert (demonstrations.expert.num_trajectories, demonstrations.failures.num_trajectories) == (4, 8)
    assert demonstrations.provenance["expert"] == str(expert_file)
    assert demonstrations.provenance["command"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("demos --out x.txt", "out: got 'x.txt'; expected a file name that ends in .npz or .h5"),
        ("demos --out x.npz --expert missing.safetensors", "missing.safetensors: expected a readable policy file"),
        ("demos --out x.npz --env halfcheetah --expert {expert}", "expert: a policy for hopper; expected one for half"),
        ("demos --out x.npz --expert {expert} --trajectories 0", "expected at least 1"),
        ("demos --out x.npz --out y.npz", "out is given twice; expected each flag once"),
        ("demos --out x.npz --noise 3", "noise: nothing reads it: no failed attempts; expected --failures"),
        ("demos --out x.npz --annotator terminated --keep-failed", "annotator: nothing reads it: no failed attempts"),
        ("demos --out x.npz --snapshots {expert}", "snapshots: nothing reads it: no failed attempts"),
        ("demos --out x.npz --failures 2 --snapshots {expert} --noise 3", "noise: nothing reads it: the snapshots"),
        ("demos --out x.npz --expert {expert} --seed -1", "seed: got -1"),
        ("demos --out x.npz --expert {expert} --failures 2 --noise nan", "noise: got nan"),
    ],
)
def test_bad_input_ends_in_one_line(refused, words, message):
    refused(words, message)
