"""What is exported acts as the policy does, in processes that have neither this package nor JAX."""

from __future__ import annotations

import itertools
import json
import pathlib
import shutil
import subprocess
import sys

import numpy as np
import pytest

from gailfe_jax.artifacts.policy import Policy
from gailfe_jax.errors import GailfeError
from gailfe_jax.export import c as c_target
from gailfe_jax.export.contract import TESTS, contract, self_test
from gailfe_jax.export.registry import TARGETS, find_target
from gailfe_jax.nn.constants import OBS_CLIP

HERE = ("gailfe_jax", "mujoco", "gymnasium", "flax", "optax", "brax", "orbax", "tyro", "safetensors")
JAX = ("jax", "jaxlib", "scipy")


def network(sizes, seed=0):
    rng = np.random.default_rng(seed)
    return [(rng.normal(size=(i, j)) / i**0.5, 0.1 * rng.normal(size=j)) for i, j in itertools.pairwise(sizes)]


def made(sizes, activation="tanh", log_std=(), low=-1.0, high=1.0, squashed=False):
    rng = np.random.default_rng(1)
    return Policy(
        network(sizes), activation, rng.normal(size=sizes[0]), rng.uniform(0.5, 2, sizes[0]), log_std, low, high,
        {"env": "hopper", "algo": "gail", "seed": "3", "command": "secret"}, squashed,
    )  # fmt: skip


KINDS = {
    "tanh": made((5, 16, 9, 3), log_std=np.zeros(3), low=[-0.3, -np.inf, -1], high=[0.2, np.inf, 2]),
    "relu": made((4, 8, 8, 8, 1), "relu", log_std=np.zeros(1)),
    "linear": made((3, 2), log_std=np.zeros(2)),
    "mixture": made((5, 16, 3 * 2 + 3), log_std=np.zeros((3, 2)), low=-0.5, high=0.5),
    "squashed": made((4, 8, 8, 2 * 2), "relu", log_std=None, low=[-0.3, 1], high=[0.2, 3], squashed=True),
    "choice": made((4, 16, 3), log_std=None, low=0, high=1),
}


def described(policy):
    # A name that would end a comment, join lines and leave a string, if it were let.
    names = [f'obs {i} */ ??/ " \\\n é' for i in range(policy.obs_size)]
    actions = [(f"motor {i}", "N m") for i in range(policy.action_size)]
    return contract(policy, [(name, "rad/s") for name in names], actions, 0.02, {"env": "*/ hopper"})


def written(target, kind, folder):
    folder = folder / kind
    folder.mkdir()
    for name, content in find_target(target).files(KINDS[kind], described(KINDS[kind])).items():
        (folder / name).write_bytes(content)
    return folder


def isolated(script, folders, blocked):
    """Runs a script of each folder in one process in which none of `blocked` can be imported."""
    program = (
        "import runpy, sys\n"
        f"for name in {blocked!r}: sys.modules[name] = None\n"
        f"for folder in {[str(folder) for folder in folders]!r}:\n"
        f"    runpy.run_path(folder + '/{script}', run_name='__main__')\n"
    )
    return subprocess.run([sys.executable, "-I", "-c", program], capture_output=True, text=True, check=False)


@pytest.mark.parametrize("kind", KINDS)
def test_a_self_test_covers_what_a_policy_does(kind):
    policy = KINDS[kind]
    test = self_test(policy)
    assert test.obs.shape == (TESTS, policy.obs_size) and test.obs.dtype == np.float32
    np.testing.assert_array_equal(test.action, policy.act(test.obs))
    normalised = (test.obs - policy.obs_mean) / policy.obs_std
    assert (np.abs(normalised) > OBS_CLIP).any()
    if policy.discrete:
        assert len(np.unique(test.action)) == 3 and test.tolerance.tolist() == [0]
    else:
        inside = ((test.action > policy.action_low) & (test.action < policy.action_high)).all(axis=1)
        assert inside.sum() >= TESTS // 2
        assert (test.tolerance > 0).all() and (test.tolerance < 1e-4).all()


@pytest.mark.parametrize("target", [target for target in TARGETS if target != "c"])
def test_an_export_acts_as_the_policy_does_where_this_package_is_not(target, tmp_path):
    folders = [written(target, kind, tmp_path) for kind in KINDS]
    blocked = HERE if target == "jax" else (*HERE, *JAX)
    done = isolated("policy.py" if target == "numpy" else "check.py", folders, blocked)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("ok: 32 actions") == len(KINDS)


@pytest.mark.skipif(shutil.which("cc") is None, reason="needs a C compiler")
@pytest.mark.parametrize("kind", KINDS)
def test_c_compiles_without_a_warning_and_acts_as_the_policy_does(kind, tmp_path):
    folder = written("c", kind, tmp_path)
    assert "-Wall" in c_target.FLAGS and "-Wextra" in c_target.FLAGS and "-Werror" in c_target.FLAGS
    words = ["cc", *c_target.FLAGS, "-Wpedantic", "policy.c", "check.c", "-o", "check", "-lm"]
    done = subprocess.run(words, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    done = subprocess.run(["./check", "-v"], cwd=folder, capture_output=True, check=False)
    assert done.returncode == 0 and b"ok: 32 actions" in done.stdout
    # The names are there as they were, in UTF-8.
    assert 'observation: obs 0 */ ??/ " \\\n é [rad/s]'.encode() in done.stdout
    # Single precision too, which `check` compiles.
    assert c_target.check(folder).startswith("ok: 32 actions")


def test_without_a_compiler_c_is_not_checked_and_says_so(tmp_path, monkeypatch):
    monkeypatch.delenv("CC", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert c_target.check(tmp_path).startswith("not checked: no C compiler")


def spoiled_npz(folder):
    arrays = dict(np.load(folder / "policy.npz"))
    arrays["bias_0"] = arrays["bias_0"] + np.float32(1e-3)
    np.savez(folder / "policy.npz", **arrays)


def spoiled_c(folder):
    text = (folder / "policy.c").read_text()
    (folder / "policy.c").write_text(text.replace("y[j]", "y[j]").replace("obs_std[i];", "obs_std[i] + 1e-3f;"))


def spoiled_onnx(folder):
    import onnx

    model = onnx.load(folder / "policy.onnx")
    (bias,) = [array for array in model.graph.initializer if array.name == "bias_0"]
    bias.CopyFrom(onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(bias) + np.float32(1e-3), "bias_0"))
    onnx.save(model, folder / "policy.onnx")


def spoiled_contract(folder):
    record = json.loads((folder / "contract.json").read_text())
    record["self_test"]["action"][0][0] += 1e-3
    (folder / "contract.json").write_text(json.dumps(record))


@pytest.mark.parametrize(
    ("target", "spoil"),
    [("numpy", spoiled_npz), ("c", spoiled_c), ("onnx", spoiled_onnx), ("jax", spoiled_contract)],
)
def test_a_check_notices_what_is_off_by_a_thousandth(target, spoil, tmp_path):
    folder = written(target, "tanh", tmp_path)
    spoil(folder)
    with pytest.raises(GailfeError, match=r"export: .*fails \(failed: off by [0-9.e-]+; expected at most"):
        find_target(target).check(folder)


def test_onnx_and_jax_say_what_is_not_finite():
    import jax
    import onnxruntime

    obs = np.zeros((3, 4), np.float32)
    obs[1, 2], obs[2, 0] = np.nan, np.inf
    for kind, bad in (("relu", np.nan), ("choice", -1)):
        onnx_module, jax_module = find_target("onnx"), find_target("jax")
        session = onnxruntime.InferenceSession(onnx_module.to_onnx(KINDS[kind]).SerializeToString())
        for action in (session.run(None, {"obs": obs})[0], jax.jit(jax_module.to_exported(KINDS[kind]).call)(obs)):
            action = np.asarray(action).reshape(3)
            np.testing.assert_allclose(action[0], KINDS[kind].act(obs[0]).item(), rtol=1e-6)
            assert np.array_equal(action[1:], [bad] * 2, equal_nan=True)


def test_the_numpy_file_acts_and_predicts_and_refuses(tmp_path):
    folder = written("numpy", "mixture", tmp_path)
    found = {"__file__": str(folder / "policy.py"), "__name__": "policy"}
    exec(compile((folder / "policy.py").read_text(), "policy.py", "exec"), found)
    policy = found["Policy"]()
    obs = np.random.default_rng(0).normal(size=(2, 7, 5))
    np.testing.assert_allclose(policy.act(obs), KINDS["mixture"].act(obs), rtol=1e-6)
    action, state = policy.predict(obs[0, 0], deterministic=True)
    assert action.shape == (2,) and state is None
    for wrong, message in ((np.zeros(4), "shape"), (np.full(5, np.nan), "finite")):
        with pytest.raises(ValueError, match=message):
            policy.act(wrong)
    with pytest.raises(ValueError, match="does not draw"):
        policy.predict(obs, deterministic=False)


def test_jax_exports_for_three_platforms_and_any_batch():
    exported = find_target("jax").to_exported(KINDS["tanh"])
    assert exported.platforms == ("cpu", "cuda", "tpu")
    (shape,) = exported.in_avals
    assert str(shape.shape[0]) == "n" and shape.shape[1] == 5


def test_a_missing_extra_is_named(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    for target, package in (("onnx", "onnx"), ("jax", "flatbuffers")):
        with pytest.raises(GailfeError, match=rf"{package}, which is not installed; pip install 'gailfe-jax\[onnx\]'"):
            find_target(target).require()
    for target in ("numpy", "c"):
        find_target(target).require()


def test_runtime_files_import_nothing_of_this_package():
    folder = pathlib.Path(sys.modules["gailfe_jax.export"].__path__[0]) / "runtime"
    files = sorted(path for path in folder.glob("*.py") if path.name != "__init__.py")
    assert len(files) == 3
    assert all("gailfe_jax." not in path.read_text() for path in files)
