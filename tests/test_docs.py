"""Every block of code in README, CONTRIBUTING and docs/: shell lines parse, Python runs, both do what they say."""

from __future__ import annotations

import ast
import dataclasses
import importlib
import pathlib
import re
import shlex
import shutil
import tomllib

import pytest

from gailfe_jax.cli.commands import COMMANDS

ROOT = pathlib.Path(__file__).resolve().parent.parent
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
# Where a page trains for minutes or hours, a test takes the same way in seconds: what is replaced in a block.
SHORTER = {
    "trajectories=30, failures=100": "trajectories=2, failures=2",
    "--trajectories 30 --failures 100": "--trajectories 2 --failures 2",
    "--trajectories 5 --seed 7": "--trajectories 2 --seed 7",
    "steps=1e6": "steps=64, eval_every=64, eval_episodes=1",
    "seeds=5": "seeds=1",
    "--seeds 5": "--seeds 1",
    "iterations=20, alpha=0.2, seeds=range(3)": "iterations=1, alpha=0.2, seeds=range(3)",
    "Stagewise(rollout=gf.Rollout(num_envs=256))": "Stagewise(rollout=gf.Rollout(num_envs=4), fit_steps=2)",
    "horizon=30": "horizon=4",
    "episodes=10": "episodes=1",
    "--episodes 50": "--episodes 1",
    "--episodes 20": "--episodes 1",
    "--trajectories 20": "--trajectories 2",
    "num_envs=64, unroll_length=32": "num_envs=4, unroll_length=16",
}
TINY = "--rollout.num-envs 4 --rollout.unroll-length 16 --policy.hidden 8 --eval-every 64 --eval-episodes 1"


def blocks(language):
    """`(page, number of the block, text)` of every block in a language; "" for shell."""
    for page in PAGES:
        for number, match in enumerate(FENCE.finditer(page.read_text(encoding="utf-8"))):
            if match[1] == language:
                yield pytest.param(match[2], id=f"{page.name}-{number}")


def commands(text):
    """The `gailfe` commands of a block, without comments, prompts and redirections."""
    for line in text.replace("\\\n", " ").splitlines():
        line = re.sub(r"^.*\bdo (?=gailfe)|^srun .*?(?=gailfe )", "", line.split("#")[0]).strip()
        line = re.sub(r"\s*(&\s*done; wait|[>|&].*)$", "", line)
        if line.startswith("gailfe "):
            yield shlex.split(line)[1:]


def test_every_page_has_blocks():
    assert len(list(blocks("python"))) >= 5 and len(list(blocks(""))) >= 4


@pytest.mark.parametrize("text", list(blocks("")))
def test_commands_of_shell_blocks_parse(text, monkeypatch, capsys):
    """Every flag of every command is one that the command reads; nothing is trained."""
    found = list(commands(text))
    if not found and "gailfe" in text and "pip" not in text and "make" not in text:
        pytest.fail("no command was recognised in this block")
    for words in found:
        name, rest = words[0], words[1:]
        assert name in COMMANDS, f"gailfe {name}"
        module = importlib.import_module(COMMANDS[name].module)
        if name in ("train", "sweep", "expert"):
            from gailfe_jax.cli.settings import read_words

            kind = getattr(module, name.capitalize())
            rest = [word for word in rest if word != "run.toml"]
            rest = [word for word in rest if word != "--config"]
            read_words(kind, name, rest, algo="ppo" if name == "expert" else None)
        else:
            with pytest.raises(SystemExit) as stop:
                module.run([*rest, "--help"])
            assert stop.value.code == 0


@pytest.mark.parametrize("text", list(blocks("python")))
def test_names_of_python_blocks_exist(text):
    """What a block imports is there, and every `gf.name` is public."""
    import gailfe_jax as gf

    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "gf":
            assert hasattr(gf, node.attr), f"gf.{node.attr}"
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("gailfe_jax"):
            module = importlib.import_module(node.module or "")
            assert all(hasattr(module, alias.name) for alias in node.names)


def shorter(text):
    for long, short in SHORTER.items():
        text = text.replace(long, short)
    return text


@pytest.mark.slow
def test_python_blocks_run(tmp_path, monkeypatch, own_registry):
    """In the order of the pages, in one folder, with fewer steps."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    save_arm_policy()
    # The tutorial's run is made by its commands, which take longer.
    (tmp_path / "runs" / "tutorial").symlink_to("gailfe")
    for parameter in blocks("python"):
        (text,) = parameter.values
        exec(compile(shorter(text), parameter.id, "exec"), {"__name__": parameter.id})
    assert (tmp_path / "runs" / "gailfe" / "summary.json").is_file()


# Every training command of every other page, with these settings: of each method those that it reads.
TINY_FILE = """
[method.rollout]
num_envs = 4
unroll_length = 16
[method.policy]
hidden = [8]
[run]
steps = 64
eval_every = 64
eval_episodes = 1
tensorboard = false
"""
# Pages whose commands have tests of their own, for they need files of others or several processes.
ELSEWHERE = ("README", "data", "own_robot", "environments", "performance", "install")
# They measure, film or serve for minutes, or for ever; their own tests run them.
LONG = ("bench", "expert", "video", "watch", "sweep", "annotate", "quickstart")


def runnable():
    """`(page, commands)` of every page whose commands run here, in their order."""
    for page in PAGES:
        name = str(page.relative_to(ROOT / "docs")) if page.is_relative_to(ROOT / "docs") else page.name
        found = [
            words for match in FENCE.finditer(page.read_text("utf-8")) if not match[1] for words in commands(match[2])
        ]
        found = [words for words in found if words[0] not in LONG and "--videos" not in words]
        if found and page.stem not in ELSEWHERE:
            yield pytest.param(found, id=name)


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """A folder with what the pages' commands find: demonstrations, and runs that an earlier page has made."""
    from gailfe_jax.cli.main import main

    folder = tmp_path_factory.mktemp("site")
    (folder / "experiments").symlink_to(ROOT / "experiments")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        pathlib.Path("run.toml").write_text(TINY_FILE)
        words = "demos --env hopper --trajectories 2 --failures 2 --out demos.npz"
        assert main(words.split()) == 0
        for name in ("gail", "gailfe", "s", "x", "arm"):
            run = ["--config", "run.toml", "--env", "hopper", "--demos", "demos.npz", "--out", f"runs/{name}"]
            words = ["train", "gailfe" if name == "gailfe" else "gail", *run, "--seeds", "4" if name == "arm" else "1"]
            if name in ("gail", "gailfe", "arm"):
                assert main(words) == 0
            else:
                pathlib.Path("runs", name).symlink_to("gailfe")
    return folder


def clear(folder):
    if folder.is_symlink():
        folder.unlink()
    shutil.rmtree(folder, ignore_errors=True)


def shipped_expert(name):
    return ROOT / "gailfe_jax" / "artifacts" / "experts" / f"{name}.safetensors"


@pytest.mark.slow
@pytest.mark.parametrize("found", list(runnable()))
def test_the_commands_of_every_page_run(found, site, quick_programs, monkeypatch, capsys):
    """At tiny sizes. An expert from elsewhere is stood for by the one that ships."""
    from gailfe_jax.cli.main import main

    monkeypatch.chdir(site)
    for words in found:
        words = shlex.split(shorter(shlex.join(words)))
        words = [str(shipped_expert("hopper")) if word in ("expert.onnx", "sac_hopper.zip") else word for word in words]
        if words[0] == "train" and "--resume" not in words:
            words = [word for i, word in enumerate(words) if "--steps" not in (word, words[i - 1])]
            if "--out" in words:
                clear(pathlib.Path(words[words.index("--out") + 1]))
            if "--config" not in words:
                words = ["train", words[1], "--config", "run.toml", *words[2:]]
            # A divisor of what it has at once.
            words += ["--policy.minibatch", "64"] if words[1] == "bc" else []
        if words[0] == "demos" and "inspect" not in words:
            words += ["--failures", "1"] if "--failures" not in words else []
        assert main(words) == 0, words


def save_arm_policy():
    """What a page that loads a run's policy finds, without the run."""
    import numpy as np

    from gailfe_jax.artifacts.policy import Policy

    Policy(
        [(np.zeros((6, 2)), np.array([0.5, 9.0]))],
        "tanh",
        np.zeros(6),
        np.ones(6),
        np.zeros(2),
        -np.ones(2),
        np.ones(2),
    ).save("runs/arm/policies/seed_0.safetensors")


def test_what_the_page_records_is_what_training_sees(tmp_path, monkeypatch):
    """The recorder of docs/own_robot.md, beside the task's own environment under the same actions."""
    import jax
    import numpy as np

    import gailfe_jax as gf
    from gailfe_jax.data.formats import load_demonstrations

    monkeypatch.chdir(tmp_path)
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    save_arm_policy()
    page = [p for p in blocks("python") if p.id.startswith("own_robot")]
    found = {}
    for parameter in page:
        if "mine.npz" in parameter.values[0] or "policy.act" in parameter.values[0]:
            exec(compile(parameter.values[0], parameter.id, "exec"), found)
    assert found["action"].tolist() == [0.5, 1.0]
    env = gf.make_env("examples/arm/arm.toml", "mujoco_c")
    mine = load_demonstrations("mine.npz", env).expert
    # Nobody recorded a reward, so there are no returns of 0 either.
    assert mine.num_trajectories == 3 and mine.reward is None
    reset, step = jax.jit(env.reset), jax.jit(env.step)
    state = reset(jax.random.key(1))
    start = np.asarray(state.obs)
    row = np.abs(found["starts"]["qpos"][:, :2] - start[:2]).sum(axis=1).argmin()
    actions = np.random.default_rng(2).uniform(-1, 1, (20, 2)).astype(np.float32)
    remaining = iter(actions)
    monkeypatch.setitem(found, "task", dataclasses.replace(found["task"], max_episode_steps=20))
    recorded = found["record"](lambda obs: next(remaining), *(found["starts"][name][row] for name in ("qpos", "qvel")))
    for action, obs, next_obs in zip(recorded.action, recorded.obs, recorded.next_obs, strict=True):
        np.testing.assert_allclose(obs, state.obs, atol=1e-5)
        state, after = step(state, action)
        np.testing.assert_allclose(next_obs, after.next_obs, atol=1e-5)
    assert recorded.num_transitions > 10


@pytest.mark.slow
def test_the_commands_run(tmp_path, monkeypatch, capsys):
    """The first block of docs/command_line.md, in its order, at tiny sizes; README's is a part of it."""
    from gailfe_jax.cli.main import main

    monkeypatch.chdir(tmp_path)
    page = [p for p in blocks("") if str(p.id).startswith("command_line")]
    text = next(p.values[0] for p in page if "gailfe demos" in p.values[0])
    ran = []
    for words in commands(shorter(text)):
        if words[0] in ("bench", "expert", "video", "watch"):
            continue  # Minutes of measuring, training or filming, or no end at all; their own tests run them.
        if words[0] in ("train", "sweep") and "--resume" not in words:
            if "--steps" in words:
                del words[words.index("--steps") : words.index("--steps") + 2]
            words = [*words, *shlex.split(TINY), "--steps", "64"]
        words = [word.replace("policy.hidden=64x64,100x100", "policy.hidden=4,8") for word in words]
        assert main(words) == 0, words
        ran.append(words[0])
    assert ran == [
        "demos",
        "demos",
        "train",
        "train",
        "sweep",
        "evaluate",
        "report",
        "doctor",
        "play",
        "demos",
        "confidence",
    ]


@pytest.mark.slow
def test_a_robot_of_ones_own_goes_the_whole_way(tmp_path, monkeypatch, capsys):
    """The commands of docs/own_robot.md, in their order, at tiny sizes."""
    from gailfe_jax.cli.main import main

    monkeypatch.chdir(tmp_path)
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    found = [p.values[0] for p in blocks("") if "--env examples/arm" in p.values[0]]
    text = "\n".join(found)
    ran = []
    for words in commands(shorter(text)):
        small = [*shlex.split(TINY), "--steps", "64"] if words[0] == "train" else []
        if words[1] == "bc":
            small += ["--policy.minibatch", "64"]
        if words[0] == "video":
            small = ["--max-steps", "3"]
        # A flag is given once.
        kept = [word for i, word in enumerate(words) if word not in small[::2] and words[i - 1] not in small[::2]]
        assert main([*kept, *small]) == 0, words
        ran.append(words[0])
    assert ran == ["train", "train", "evaluate", "video", "train", "demos"]


def test_the_task_file_on_the_page_is_the_one_that_ships():
    text = next(p.values[0] for p in blocks("toml") if "arm.xml" in p.values[0])
    assert tomllib.loads(text) == tomllib.loads((ROOT / "examples" / "arm" / "arm.toml").read_text())


@pytest.mark.slow
def test_an_environment_of_gymnasiums_goes_the_whole_way(tmp_path, monkeypatch, capsys):
    """The commands of docs/environments.md, in their order, at tiny sizes."""
    from gailfe_jax.cli.main import main

    monkeypatch.chdir(tmp_path)
    text = next(p.values[0] for p in blocks("") if "--env gym:" in p.values[0])
    for words in commands(shorter(text)):
        if words[0] == "train":
            words = [word for i, word in enumerate(words) if "--steps" not in (word, words[i - 1])]
            words += [*shlex.split(TINY), "--steps", "64"]
        if words[0] == "evaluate":
            words += ["--episodes", "2"]
        assert main(words) == 0, words
    assert "Pendulum-v1, 2 episodes" in capsys.readouterr().out
