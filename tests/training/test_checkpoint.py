from __future__ import annotations

import asyncio
import gc
import json
import logging
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import struct

import gailfe_jax.training.checkpoint as checkpoint
from gailfe_jax.errors import GailfeError
from gailfe_jax.training.checkpoint import CheckpointManager
from gailfe_jax.training.orbax_calls import in_words, without_noise

CONFIG = {"env": "hopper", "algo": {"name": "gailfe", "hidden": (100, 100)}}


@struct.dataclass
class Inner:
    weights: Any
    key: Any
    ring: Any


@struct.dataclass
class State:
    inner: Inner
    count: Any
    done: Any
    words: Any
    empty: Any
    nothing: Any
    host: Any
    half: Any
    name: str = struct.field(pytree_node=False, default="static")


def make_state(seed: int = 0, *, dtype: Any = jnp.float32, width: int = 5) -> State:
    key = jax.random.key(seed)
    inner = Inner(
        weights={"kernel": jax.random.normal(key, (7, width), dtype), "bias": jnp.array([0.0, -0.0, jnp.nan, jnp.inf])},
        key=jax.random.split(key, 3),
        ring=jnp.arange(1000.0).reshape(10, 100) + seed,
    )
    return State(
        inner=inner,
        count=jnp.int32(seed),
        done=jnp.array([True, False]),
        words=jnp.array([0, 2**32 - 1, seed], jnp.uint32),
        empty=jnp.zeros((0, 3)),
        nothing=None,
        host=np.asfortranarray(np.random.default_rng(seed).normal(size=(3, 4))),
        half=jnp.array([1.5, -2.25], jnp.bfloat16),
    )


def bits(state: State) -> list[tuple[str, str, tuple[int, ...], bytes]]:
    found = []
    for path, leaf in jax.tree_util.tree_flatten_with_path(state)[0]:
        is_key = jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)
        data = np.asarray(jax.random.key_data(leaf) if is_key else leaf)
        found.append((jax.tree_util.keystr(path), str(leaf.dtype), leaf.shape, data.tobytes()))
    return found


def fill(directory: Path, steps: list[int], *, keep: int = 3) -> CheckpointManager:
    manager = CheckpointManager(directory, keep=keep)
    for step in steps:
        manager.save(step, make_state(step), CONFIG)
    return manager


def data_file(step: Path) -> Path:
    """The file that holds most of a step's data."""
    return max((path for path in step.rglob("*") if path.is_file() and "part_" in str(path)), key=os.path.getsize)


def flip_byte(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0x10
    path.write_bytes(bytes(content))


@pytest.mark.parametrize("abstract", [False, True])
@pytest.mark.parametrize("part_bytes", [checkpoint.PART_BYTES, 64])
def test_round_trip_keeps_every_bit(tmp_path, monkeypatch, abstract, part_bytes):
    # 64 bytes cut every leaf into pieces that lie in different orbax checkpoints.
    monkeypatch.setattr(checkpoint, "PART_BYTES", part_bytes)
    state = make_state(3)
    if part_bytes == 64:
        state = state.replace(inner=state.inner.replace(ring=jnp.arange(50.0)))
    template = state
    if abstract:
        template = jax.eval_shape(lambda: state.replace(host=jnp.zeros(1))).replace(host=state.host)
    CheckpointManager(tmp_path).save(7, state, CONFIG)
    step, restored = CheckpointManager(tmp_path).restore(template)
    assert step == 7
    assert bits(restored) == bits(state)
    assert jax.tree.structure(restored) == jax.tree.structure(state)
    assert isinstance(restored.host, np.ndarray)
    assert isinstance(restored.inner.ring, jax.Array)
    assert jnp.array_equal(jax.random.normal(restored.inner.key[1], (4,)), jax.random.normal(state.inner.key[1], (4,)))


def test_restored_state_may_be_donated(tmp_path):
    state = {"a": jnp.arange(4096.0)}
    manager = CheckpointManager(tmp_path)
    manager.save(0, state, {})
    restored = manager.restore(state)[1]
    after = jax.jit(lambda tree: jax.tree.map(lambda x: x + 1, tree), donate_argnums=0)(restored)
    assert jnp.array_equal(after["a"], state["a"] + 1)
    assert jnp.array_equal(manager.restore(state)[1]["a"], state["a"])


def test_key_implementation_survives_and_is_compared(tmp_path):
    state = {"key": jax.random.key(5, impl="rbg")}
    manager = CheckpointManager(tmp_path)
    manager.save(0, state, {})
    restored = manager.restore(state)[1]["key"]
    assert restored.dtype == state["key"].dtype
    assert jnp.array_equal(jax.random.key_data(restored), jax.random.key_data(state["key"]))
    with pytest.raises(GailfeError, match=r"\['key'\]"):
        manager.restore({"key": jax.random.key(5)})


def test_configuration_and_manifest_are_stored(tmp_path):
    path = CheckpointManager(tmp_path).save(12, make_state(), CONFIG)
    assert CheckpointManager(tmp_path).config(12) == {"env": "hopper", "algo": {"name": "gailfe", "hidden": [100, 100]}}
    assert CheckpointManager(tmp_path).config() == CheckpointManager(tmp_path).config(12)
    body = json.loads((path / "manifest.json").read_text())["body"]
    assert body["versions"]["jax"] == jax.__version__
    kernel = next(leaf for leaf in body["leaves"] if leaf["name"] == ".inner.weights['kernel']")
    assert (kernel["shape"], kernel["dtype"], len(kernel["sha256"])) == ([7, 5], "float32", 64)


WRONG_TEMPLATES = {
    "shape": (lambda s: make_state(width=6), r"\.inner\.weights\['kernel'\].*float32\[7, 6\].*float32\[7, 5\]"),
    "dtype": (lambda s: make_state(dtype=jnp.float16), r"\.inner\.weights\['kernel'\].*float16.*float32"),
    "leaf missing here": (lambda s: s.replace(count=None), r"has a leaf \.count of int32\[\]"),
    "leaf missing there": (lambda s: s.replace(nothing=jnp.zeros(2)), r"expected leaf \.nothing of float32\[2\]"),
    "key for data": (lambda s: s.replace(words=jax.random.key(0)), r"\.words"),
    "data for key": (lambda s: s.replace(inner=s.inner.replace(key=jnp.zeros((3, 2), jnp.uint32))), r"\.inner\.key"),
}


@pytest.fixture(scope="module")
def one_step(tmp_path_factory):
    directory = tmp_path_factory.mktemp("one_step")
    fill(directory, [1])
    return directory


@pytest.mark.parametrize("case", WRONG_TEMPLATES)
def test_wrong_template_is_refused_by_leaf(one_step, case):
    make, message = WRONG_TEMPLATES[case]
    with pytest.raises(GailfeError, match=message) as caught:
        CheckpointManager(one_step).restore(make(make_state(1)))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("leaf", [3, 1.5, "text"])
def test_a_leaf_that_is_no_array_is_refused_before_anything_is_written(tmp_path, leaf):
    with pytest.raises(GailfeError, match=r"\['a'\]: expected an array"):
        CheckpointManager(tmp_path / "new").save(0, {"a": leaf}, {})
    assert not (tmp_path / "new").exists()


def test_bad_arguments(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(GailfeError, match="expected a directory"):
        CheckpointManager(tmp_path / "file")
    with pytest.raises(GailfeError, match="keep"):
        CheckpointManager(tmp_path, keep=0)
    with pytest.raises(GailfeError, match="step"):
        CheckpointManager(tmp_path).save(-1, make_state(), {})
    with pytest.raises(GailfeError, match="JSON"):
        CheckpointManager(tmp_path).save(0, make_state(), {"a": {1, 2}})


def test_no_checkpoint(tmp_path):
    manager = CheckpointManager(tmp_path / "absent")
    assert (manager.steps(), manager.latest()) == ([], None)
    for call in (lambda: manager.restore(make_state()), manager.config):
        with pytest.raises(GailfeError, match="found none"):
            call()
    fill(tmp_path, [4])
    with pytest.raises(GailfeError, match=r"step 5, found \[4\]"):
        CheckpointManager(tmp_path).restore(make_state(), 5)


def no_manifest(step: Path) -> None:
    (step / "manifest.json").unlink()


def torn_manifest(step: Path) -> None:
    text = (step / "manifest.json").read_text()
    (step / "manifest.json").write_text(text[: len(text) // 2])


def edited_manifest(step: Path) -> None:
    text = (step / "manifest.json").read_text()
    (step / "manifest.json").write_text(text.replace('"step": 3', '"step": 4'))


def lost_part(step: Path) -> None:
    shutil.rmtree(step / "part_0000")


def lost_data(step: Path) -> None:
    data_file(step).unlink()


def truncated_data(step: Path) -> None:
    os.truncate(data_file(step), os.path.getsize(data_file(step)) // 2)


def flipped_data(step: Path) -> None:
    flip_byte(data_file(step))


def edited_config(step: Path) -> None:
    (step / "config.json").write_text('{"env": "walker2d"}')


def swapped_data(step: Path) -> None:
    # Intact for orbax, but another step's numbers: only the hash can tell.
    shutil.rmtree(step / "part_0000")
    shutil.copytree(step.parent / "step_000000000002" / "part_0000", step / "part_0000")


UNFINISHED = [no_manifest, torn_manifest, edited_manifest]
DAMAGED = [lost_part, lost_data, truncated_data, flipped_data, swapped_data, edited_config]


@pytest.fixture(scope="module")
def three_steps(tmp_path_factory):
    directory = tmp_path_factory.mktemp("three_steps")
    fill(directory, [1, 2, 3])
    return directory


@pytest.mark.parametrize("damage", UNFINISHED + DAMAGED, ids=lambda damage: damage.__name__)
def test_falls_back_to_the_newest_step_that_verifies(tmp_path, three_steps, caplog, damage):
    directory = tmp_path / "run"
    shutil.copytree(three_steps, directory)
    broken = directory / "step_000000000003"
    damage(broken)
    manager = CheckpointManager(directory)
    assert manager.latest() == (2 if damage in UNFINISHED else 3)
    with caplog.at_level(logging.WARNING, "gailfe_jax.training.checkpoint"):
        step, restored = manager.restore(make_state())
    assert step == 2
    assert bits(restored) == bits(make_state(2))
    assert list(manager.skipped) == ([] if damage in UNFINISHED else [3])
    assert ("step_000000000003" in caplog.text) == (damage in DAMAGED)
    assert broken.exists(), "reading must not change the directory"
    if damage in DAMAGED:
        with pytest.raises(GailfeError, match="step 3"):
            manager.restore(make_state(), 3)
        manager.restore(make_state())
    # The next save tidies up, and the damaged step no longer counts among those kept.
    manager.save(3, make_state(30), CONFIG)
    assert manager.steps() == [1, 2, 3]
    assert not broken.exists() or damage in UNFINISHED
    assert bits(CheckpointManager(directory).restore(make_state())[1]) == bits(make_state(30))


def test_all_damaged_is_one_clear_error(tmp_path):
    fill(tmp_path, [1, 2])
    for step in (1, 2):
        flipped_data(tmp_path / f"step_{step:012d}")
    with pytest.raises(GailfeError, match=r"all are damaged \(step 2: .*; step 1: .*\)"):
        CheckpointManager(tmp_path).restore(make_state())


def test_retention(tmp_path):
    manager = fill(tmp_path, [1, 2, 3, 4], keep=2)
    assert manager.steps() == [3, 4]
    # A step older than all others is kept all the same while it is the one just saved.
    manager.save(2, make_state(2), CONFIG)
    assert manager.steps() == [2, 3, 4]
    manager.save(5, make_state(5), CONFIG)
    assert manager.steps() == [4, 5]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step_000000000004", "step_000000000005"]


def test_retention_does_not_count_damaged_steps(tmp_path):
    fill(tmp_path, [1, 2, 3])
    for step in (2, 3):
        flipped_data(tmp_path / f"step_{step:012d}")
    manager = CheckpointManager(tmp_path, keep=2)
    assert manager.restore(make_state())[0] == 1
    manager.save(2, make_state(20), CONFIG)
    assert manager.steps() == [1, 2]
    assert bits(manager.restore(make_state())[1]) == bits(make_state(20))


def test_saving_a_step_again_replaces_it(tmp_path):
    manager = fill(tmp_path, [1, 2, 2, 2])
    assert manager.steps() == [1, 2]
    manager.save(2, make_state(9), CONFIG)
    assert bits(manager.restore(make_state())[1]) == bits(make_state(9))
    assert len(list(tmp_path.iterdir())) == 2


def test_leftovers_of_a_kill_are_removed_and_foreign_files_kept(tmp_path):
    fill(tmp_path, [1])
    (tmp_path / ".tmp-dead" / "part_0000").mkdir(parents=True)
    (tmp_path / ".trash-dead").mkdir()
    (tmp_path / "step_000000000009").mkdir()
    (tmp_path / "notes.txt").write_text("mine")
    manager = CheckpointManager(tmp_path)
    assert manager.steps() == [1]
    manager.save(2, make_state(2), CONFIG)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["notes.txt", "step_000000000001", "step_000000000002"]


def test_an_error_while_writing_is_raised_and_leaves_the_older_step(tmp_path, capfd, caplog):
    manager = fill(tmp_path, [1])
    noise = {f"a{i}": jax.random.normal(jax.random.key(i), (10_000,)) for i in range(20)}
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
    try:
        with pytest.raises(Exception, match=r"(?i)file too large|EFBIG|writ"):
            manager.save(2, noise, CONFIG)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert [path.name for path in tmp_path.iterdir()] == ["step_000000000001"]
    assert manager.restore(make_state())[0] == 1
    # What is raised is not printed as well, thread by thread.
    assert "Traceback" not in capfd.readouterr().err + caplog.text and "_SignalingThread" not in caplog.text


NOISE = """
import contextlib, itertools, logging, pathlib, resource, shutil, signal, sys, threading, time
import numpy as np
from gailfe_jax.errors import GailfeError
from gailfe_jax.training import checkpoint, manifest

logging.getLogger("gailfe_jax").setLevel(logging.ERROR)
state = {f"a{index}": np.random.default_rng(index).random((50, 40)) for index in range(24)}
fault, folder = sys.argv[1], pathlib.Path(sys.argv[2])
manager = checkpoint.CheckpointManager(folder / "run")
manager.save(1, state, {})

def full():
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    for size in (15_000, 60_000, 90_000, 200_000):
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))
        yield lambda: manager.save(2, state, {})

def gone():
    began = time.monotonic()
    manager.save(1, state, {})
    whole = time.monotonic() - began

    def remove():
        # A save of which nothing is there yet makes its folder after this.
        with contextlib.suppress(FileNotFoundError):
            shutil.rmtree(manager.directory.rename(folder / "aside"), ignore_errors=True)

    # When the folder goes is a matter of time: some saves are done before it.
    for tenth in (0, *range(10), *itertools.islice(itertools.cycle(range(10)), 200)):
        if refused >= 4:
            return
        removal = threading.Timer(whole * tenth / 10, remove)
        removal.start()
        yield lambda: manager.save(2, state, {})
        removal.join()
        shutil.rmtree(manager.directory, ignore_errors=True)

def unreadable():
    # As of an old release, whose manifests have no digests of files.
    checkpoint.check_files = lambda *_: None
    for path in sorted((manager.directory / "step_000000000001" / "part_0000").rglob("*")):
        if path.is_file():
            whole = path.read_bytes()
            path.write_bytes(whole[: len(whole) // 2])
            yield lambda: manager.restore(state)
            path.write_bytes(whole)

refused = 0
for attempt in {"full": full, "gone": gone, "unreadable": unreadable}[fault]():
    try:
        attempt()
    except (GailfeError, OSError) as error:
        refused += "\\n" not in str(error)
print(refused)
"""


@pytest.mark.slow
@pytest.mark.parametrize("fault", ["full", "gone", "unreadable"])
def test_a_failure_is_raised_and_not_printed_by_those_who_noticed_it(tmp_path, fault):
    """Not at once, nor by threads that go on, nor when the process ends."""
    words = [sys.executable, "-c", NOISE, fault, str(tmp_path)]
    # Threads of orbax that wait for ever would hold the process.
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=120)
    assert (done.returncode, done.stderr) == (0, "")
    assert int(done.stdout) >= 2


def test_an_event_loop_that_has_ended_may_still_be_told(caplog):
    with without_noise():
        loop = asyncio.new_event_loop()

        async def fails():
            raise ValueError("lost")

        # Nobody asks how it ended.
        loop.run_until_complete(asyncio.wait([loop.create_task(fails())]))
        loop.close()
        assert loop.call_soon_threadsafe(print).cancelled()
    gc.collect()
    assert caplog.records == []
    other = asyncio.new_event_loop()
    other.close()
    with pytest.raises(RuntimeError, match="closed"):
        other.call_soon_threadsafe(print)


def test_what_only_an_error_holds_is_thrown_away_without_a_warning(recwarn):
    async def never():
        pass

    def fails(unused):
        raise ValueError("first")

    with pytest.raises(ValueError, match="first"):
        with without_noise():
            fails(never())
    gc.collect()
    assert list(recwarn) == []


def test_a_folder_that_orbax_cannot_make_leaves_no_thread_that_waits_for_it(tmp_path, monkeypatch):
    running = set(threading.enumerate())
    manager = CheckpointManager(tmp_path)

    def fails(*args, **options):
        raise FileNotFoundError(2, "No such file or directory", str(tmp_path))

    monkeypatch.setattr("os.mkdir", fails)
    monkeypatch.setattr("os.makedirs", fails)
    monkeypatch.setattr(Path, "mkdir", lambda path, *args, **options: None)
    with pytest.raises((GailfeError, OSError)):
        manager.save(1, make_state(), CONFIG)
    left = [thread for thread in threading.enumerate() if thread not in running]
    assert [thread for thread in left if type(thread).__module__.startswith("orbax.")] == []


def test_others_may_say_what_they_like(caplog):
    said = "heard"
    with without_noise():
        logging.getLogger("absl").error(said)
    assert caplog.messages == [said]


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("RESOURCE_EXHAUSTED: Error writing x", "No space left on device"),
        ("Error: [OS error 30: EROFS Read-only file system] [source locations]\nadvice", "Read-only file system"),
        ("NOT_FOUND: Error opening x", "No such file or directory"),
        ("PERMISSION_DENIED: Error opening x", "Permission denied"),
        ("FAILED_PRECONDITION: x\nadvice", "FAILED_PRECONDITION: x"),
    ],
)
def test_what_the_file_system_said(said, shown):
    assert in_words(ValueError(said)) == shown


CHILD = """
import sys
import jax
from gailfe_jax.training.checkpoint import CheckpointManager

manager = CheckpointManager(sys.argv[1], keep=2)
step = manager.latest() or 0
print("ready", flush=True)
while True:
    step += 1
    manager.save(step, {"key": jax.random.key(step), "x": jax.numpy.full((300,), float(step))}, {"step": step})
    print(step, flush=True)
"""


@pytest.mark.slow
def test_a_kill_at_any_moment_leaves_a_step_that_verifies(tmp_path):
    rng = random.Random(0)
    template = {"key": jax.random.key(0), "x": jnp.zeros(300)}
    reached = 0
    for _ in range(3):
        process = subprocess.Popen([sys.executable, "-c", CHILD, str(tmp_path)], stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        reported = int(process.stdout.readline())
        time.sleep(rng.uniform(0.0, 0.4))
        process.send_signal(signal.SIGKILL)
        reported = max([reported, *map(int, process.stdout.read().split())])
        process.wait()
        manager = CheckpointManager(tmp_path)
        step, state = manager.restore(template)
        assert not manager.skipped
        # Every step reported as saved is there; one more may have been renamed into place before the report.
        assert reached < reported <= step <= reported + 1
        assert jnp.array_equal(state["x"], jnp.full(300, float(step)))
        assert jnp.array_equal(jax.random.key_data(state["key"]), jax.random.key_data(jax.random.key(step)))
        assert manager.config(step) == {"step": step}
        reached = reported
