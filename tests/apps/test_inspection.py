"""Demonstrations beside their environment: replayed from the simulator's states, and what nobody knows."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from gailfe_jax.apps.collection import roll_out
from gailfe_jax.apps.inspection import inspect_demonstrations, replay
from gailfe_jax.data.trajectories import Demonstrations
from gailfe_jax.envs import make_env
from gailfe_jax.errors import GailfeError
from tests.data.made import make_demonstrations
from tests.data.recordings.write_files import FILES
from tests.toy import Cliff


@pytest.fixture(scope="module")
def hopper():
    """Random actions, which soon fall."""
    env, rng = make_env("hopper", "mujoco_c"), np.random.default_rng(0)
    shown = roll_out(env, lambda obs: rng.uniform(-1, 1, (len(obs), 3)), 6, seed=0)
    return env, Demonstrations("Hopper-v5", shown.take(4), shown.select([4, 5]))


@pytest.mark.exact
def test_every_pair_is_replayed_to_the_bit(hopper, tmp_path):
    _, demos = hopper
    demos.save(tmp_path / "demos.npz")
    found = inspect_demonstrations(tmp_path / "demos.npz")
    assert found.spec is not None and found.spec.name == "hopper"
    assert list(found.parts) == ["expert", "failures"]
    for part in ("expert", "failures"):
        (finding,) = [f for f in found.findings[part] if f.name == "replay"]
        steps = getattr(demos, part).num_transitions
        assert finding.value == 0.0 and not finding.warns
        assert finding.words == f"replayed all {steps:,} pairs from their simulator states: largest difference 0"
    assert found.record()["expert"]["replay"] == 0.0


def test_a_pair_that_the_simulator_does_not_lead_to_is_found(hopper):
    env, demos = hopper
    part = demos.failures
    moved = part.next_obs.copy()
    moved[3, 1] += 0.25
    (finding,) = replay(dataclasses.replace(part, next_obs=moved), env)
    assert finding.warns and finding.value == pytest.approx(0.25, rel=1e-5)
    assert "(obs[1] at step 3): recorded on another model, frame skip or simulator" in str(finding.words)
    (finding,) = replay(dataclasses.replace(part, action=-part.action), env)
    assert finding.warns
    (finding,) = replay(dataclasses.replace(part, simulator_state=part.simulator_state[:, :3]), env)
    assert finding.warns and "stored simulator states have 3 numbers" in str(finding.words)
    assert replay(dataclasses.replace(part, simulator_state=None), env) == []
    assert replay(part, Cliff()) == []


def test_a_recording_is_looked_at_as_it_would_be_imported():
    found = inspect_demonstrations(FILES / "robomimic.hdf5")
    assert (found.format, found.env_id, found.spec) == ("robomimic", "Lift", None)
    assert "env_id: Lift is not known here, so nothing was checked against it; --env names one" in found.notes
    assert any(
        note.startswith("terminated: nothing says how 3 episodes end; import asks --episo") for note in found.notes
    )
    beside = inspect_demonstrations(FILES / "d4rl.hdf5", env=Cliff())
    assert "sizes" in beside.record()["mend"]


def test_flaws_are_findings_and_no_errors(tmp_path):
    demos = make_demonstrations()
    obs = demos.expert.obs.copy()
    obs[4] = np.nan
    arrays = {"obs": obs, "action": demos.expert.action * 3, "terminated": demos.expert.terminated}
    np.savez(tmp_path / "x.npz", **arrays, truncated=demos.expert.truncated, bad=np.zeros(9))
    env = Cliff()
    env.spec = dataclasses.replace(env.spec, obs_size=3)
    found = inspect_demonstrations(tmp_path / "x.npz", env=env)
    assert {"not_finite", "outside"} <= set(found.record()["mend"])
    assert found.advice[0].startswith("first mend: not_finite, outside")
    with pytest.raises(GailfeError, match=r"none\.npz: no such file or folder"):
        inspect_demonstrations(tmp_path / "none.npz")
