from __future__ import annotations

import io
import json
import math
import pathlib
import sys
import types

import imageio.v3 as imageio
import jax.numpy as jnp
import numpy as np
import pytest
from rich.console import Console

from gailfe_jax.errors import GailfeError, GailfeWarning
from gailfe_jax.training import display
from gailfe_jax.training.logger import RunLogger, read_metrics, stack_metric


def logger(path, **changes):
    settings = dict(num_seeds=2, total_steps=100, title="hopper gail", use_tensorboard=False, quiet=True)
    return RunLogger(path, **(settings | changes))


def test_one_line_per_seed_and_evaluation(tmp_path):
    with logger(tmp_path, expert_return=20.0) as log:
        log.log(10, {"return_mean": jnp.array([1.0, jnp.inf]), "kl": jnp.float32(0.5)})
        # On disk at once, before the file is closed.
        text = (tmp_path / "metrics.jsonl").read_text()
    assert [json.loads(line) for line in text.splitlines()] == [
        {"seed": 0, "step": 10, "return_mean": 1.0, "kl": 0.5, "expert_normalised": 0.05},
        {"seed": 1, "step": 10, "return_mean": None, "kl": 0.5, "expert_normalised": None},
    ]
    records = read_metrics(tmp_path)
    assert records[0]["return_mean"] == 1.0
    assert math.isnan(records[1]["return_mean"])


def test_seeds_are_called_by_their_numbers(tmp_path):
    with logger(tmp_path, seeds=[7, 3], use_tensorboard=True) as log:
        log.log(10, {"x": np.array([1.0, 2.0])})
    assert [(record["seed"], record["x"]) for record in read_metrics(tmp_path)] == [(7, 1.0), (3, 2.0)]
    assert events(tmp_path / "tensorboard" / "seed3") == [("other/x", 10, 2.0)]
    for seeds in ([1], [1, 1], [1, 1, 2]):
        with pytest.raises(GailfeError, match=r"^seeds: got .*; expected 2 different numbers"):
            logger(tmp_path, seeds=seeds)


def test_resume_equals_uninterrupted(tmp_path):
    def run(path, steps, resume=None):
        with logger(path) as log:
            if resume is not None:
                log.truncate_after(resume)
            for step in steps:
                log.log(step, {"return_mean": np.array([step, -step]) / 7})

    run(tmp_path / "whole", [10, 20, 30, 40])
    run(tmp_path / "cut", [10, 20, 30])  # killed after 30; the newest checkpoint is of step 20
    with (tmp_path / "cut" / "metrics.jsonl").open("a") as file:
        file.write('{"seed": 0, "st')
    run(tmp_path / "cut", [30, 40], resume=20)
    whole, cut = ((tmp_path / name / "metrics.jsonl").read_bytes() for name in ("whole", "cut"))
    assert whole == cut
    assert [path.name for path in (tmp_path / "cut").iterdir()] == ["metrics.jsonl"]


def test_a_torn_last_line_is_left_out_and_later_lines_are_whole(tmp_path):
    with logger(tmp_path) as log:
        log.log(10, {"x": 1.0})
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(path.read_bytes()[:-4])
    assert [record["seed"] for record in read_metrics(path)] == [0]
    with logger(tmp_path) as log:
        log.log(20, {"x": 2.0})
    assert [(record["seed"], record["step"]) for record in read_metrics(path)] == [(0, 10), (0, 20), (1, 20)]


@pytest.mark.parametrize(
    "damage",
    ['{"seed": 0, "step"', "[1, 2]", '{"step": 1}', '{"seed": 0.5, "step": 1}', '{"seed": true, "step": 1}', ""],
)
def test_a_damaged_line_is_one_clear_error(tmp_path, damage):
    path = tmp_path / "metrics.jsonl"
    path.write_text(f'{{"seed": 0, "step": 1}}\n{damage}\n{{"seed": 0, "step": 2}}\n')
    with pytest.raises(GailfeError, match=r"metrics.jsonl, line 2: damaged[;,]") as error:
        read_metrics(path)
    assert "\n" not in str(error.value)
    with pytest.raises(GailfeError, match="line 2"):
        logger(tmp_path).truncate_after(1)


@pytest.mark.parametrize("content", [None, b"\xff\xfe\x00binary\n"])
def test_a_missing_or_foreign_file_is_one_clear_error(tmp_path, content):
    path = tmp_path / "metrics.jsonl"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(GailfeError, match=r"metrics.jsonl: .*expected"):
        read_metrics(path)


def test_stack_metric_takes_the_steps_that_all_seeds_have():
    rows = [(0, 10, 1.0), (1, 10, 2.0), (1, 20, 4.0), (0, 20, 3.0), (0, 30, 5.0)]
    records = [{"seed": seed, "step": step, "x": x} for seed, step, x in rows]
    steps, values = stack_metric(records, "x")
    assert steps.tolist() == [10, 20]
    assert values.tolist() == [[1.0, 3.0], [2.0, 4.0]]
    with pytest.raises(GailfeError, match=r"^y: .*expected"):
        stack_metric(records, "y")


def test_a_metric_of_another_shape_is_refused_and_nothing_is_written(tmp_path):
    with logger(tmp_path) as log, pytest.raises(GailfeError, match=r"^x: got shape \(3,\); expected .*\[2\]"):
        log.log(1, {"x": np.zeros(3)})
    assert not (tmp_path / "metrics.jsonl").exists()


def events(folder):
    """`(tag, step, value)` of a TensorBoard run, its purges applied."""
    from tensorboardX.proto.event_pb2 import Event

    found = []
    for path in sorted(filter(pathlib.Path.is_file, folder.iterdir()), key=lambda path: path.name):
        data, at = path.read_bytes(), 0
        while at < len(data):  # frames of 8 bytes of length, 4 of its checksum, the event, 4 of its checksum
            size = int.from_bytes(data[at : at + 8], "little")
            event = Event.FromString(data[at + 12 : at + 12 + size])
            at += 16 + size
            if event.HasField("session_log"):
                found = [item for item in found if item[1] < event.step]
            found += [(value.tag, event.step, value.simple_value) for value in event.summary.value]
    return found


def test_tensorboard_has_a_run_per_seed_and_their_mean(tmp_path):
    with logger(tmp_path, use_tensorboard=True) as log:
        log.log(10, {"x": np.array([1.0, 3.0])})
        log.log(20, {"x": np.array([math.nan, 4.0])})
    assert events(tmp_path / "tensorboard" / "mean") == [("other/x", 10, 2.0), ("other/x", 20, 4.0)]
    assert events(tmp_path / "tensorboard" / "seed0") == [("other/x", 10, 1.0)]
    with logger(tmp_path, use_tensorboard=True) as log:
        log.truncate_after(10)
        log.log(20, {"x": np.array([7.0, 9.0])})
    assert events(tmp_path / "tensorboard" / "mean") == [("other/x", 10, 2.0), ("other/x", 20, 8.0)]


def console(**settings):
    return Console(file=io.StringIO(), width=120, **settings)


def test_without_a_terminal_there_is_one_line_per_evaluation(tmp_path, monkeypatch):
    clock = iter([0.0, 50.0, 60.0, 70.0])  # a start, a slow chunk that compiles, two others
    monkeypatch.setattr(display.time, "monotonic", lambda: next(clock))
    out = console()
    with logger(tmp_path, quiet=False, console=out, total_steps=1000, expert_return=20.0) as log:
        for step in (100, 200, 300):
            log.log(step, {"return_mean": np.array([8.0, 12.0]), "multiplier": 0.25, "kl": 0.1})
    last = out.file.getvalue().splitlines()
    assert len(last) == 3
    # 100 steps of 2 seeds in 10 s; 700 left take 70 s.
    assert last[-1].split("  ") == [
        "hopper gail:",
        "30.0%",
        "step 300 of 1,000",
        "return 10 ± 2",
        "of expert 0.50",
        "multiplier 0.250",
        "20 steps/s",
        "1m10s left",
    ]


def test_the_first_time_left_leaves_compilation_out(tmp_path, monkeypatch):
    clock = iter([0.0, 50.0])
    monkeypatch.setattr(display.time, "monotonic", lambda: next(clock))
    out = console()
    with logger(tmp_path, quiet=False, console=out, total_steps=1000) as log:
        log.log(100, {"steps_per_second": 25.0, "steps_per_second_overall": 20.0})
    assert out.file.getvalue().strip().split("  ")[-2:] == ["20 steps/s (25 in training alone)", "1m30s left"]


def test_both_rates_are_of_the_whole_run(tmp_path, monkeypatch):
    clock = iter([0.0, 50.0, 60.0, 61.0])
    monkeypatch.setattr(display.time, "monotonic", lambda: next(clock))
    out = console()
    with logger(tmp_path, quiet=False, console=out, total_steps=1000) as log:
        for step in (100, 200, 300):
            log.log(step, {"steps_per_second": 25.0, "steps_per_second_overall": 20.0})
    # Of late it was much faster, which the time left goes by.
    words = out.file.getvalue().splitlines()[-1].strip().split("  ")
    assert words[-2] == "20 steps/s (25 in training alone)" and words[-1] in ("38s left", "39s left")


def test_on_a_terminal_the_display_shows_the_newest_evaluation(tmp_path):
    out = console(force_terminal=True, color_system=None)
    with logger(tmp_path, quiet=False, console=out) as log:
        log.progress(5)
        log.log(50, {"return_mean": 1234.0, "discriminator_accuracy": 0.875, "failures_in_buffer": 17})
        log.message("saved")
    final = out.file.getvalue().rsplit("hopper gail", 1)[1]
    assert "saved" in out.file.getvalue()
    for part in ("1,234 ± 0", "0.88", "17", "50%", "50 of 100 steps x 2 seeds"):
        assert part in final


def test_quiet_is_quiet(tmp_path, capsys):
    with logger(tmp_path) as log:
        log.progress(1)
        log.message("hello")
        log.log(2, {"return_mean": 1.0})
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", "")


def test_wandb_missing_is_one_clear_error(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(GailfeError, match=r"^wandb: not installed; expected"):
        logger(tmp_path, trackers=["wandb"])


def test_wandb_gets_seeds_and_mean_and_resumes_its_run(tmp_path, monkeypatch):
    starts, logged = [], []

    class Run:
        id = "abc123"

        def define_metric(self, *_, **__):
            pass

        def log(self, values):
            logged.append(values)

        def finish(self):
            logged.append("finished")

    fake = types.ModuleType("wandb")
    fake.init = lambda **settings: (starts.append(settings), Run())[1]
    monkeypatch.setitem(sys.modules, "wandb", fake)
    for step in (1, 2):
        with logger(tmp_path, trackers=["wandb"], run_config={"lr": np.float32(0.5)}) as log:
            log.log(step, {"x": np.array([1.0, 3.0])})
    assert [start["id"] for start in starts] == [None, "abc123"]
    assert starts[0]["config"] == {"lr": 0.5}
    first = {"step": 1, "other/x": 2.0, "other/x.seed0": 1.0, "other/x.seed1": 3.0}
    assert logged[:2] == [first, "finished"]


def test_tensorboard_has_the_settings_the_figures_and_each_metric_in_its_group(tmp_path):
    picture = tmp_path / "curve.png"
    imageio.imwrite(picture, np.zeros((4, 5, 3), np.uint8))
    config = {"method": {"reward": {"lr": np.float32(0.5)}}, "seeds": [1, 2]}
    with logger(tmp_path, use_tensorboard=True, run_config=config) as log:
        log.log(10, {"return_mean": np.array([1.0, 3.0]), "kl": 0.25})
        log.figure("curve", picture)
    folder = tmp_path / "tensorboard" / "mean"
    assert {tag for tag, *_ in events(folder)} == {"return/return_mean", "policy/kl", "curve"}
    (settings,) = [path for path in folder.iterdir() if path.is_dir()]
    written = b"".join(path.read_bytes() for path in settings.iterdir())
    assert b"method.reward.lr" in written and b"hparam/return_mean" in written


def test_trackers_get_films(tmp_path, monkeypatch):
    """TensorBoard a picture that moves, as long as the film; the others the file."""
    import imageio_ffmpeg

    film, frames = tmp_path / "film.mp4", np.zeros((60, 32, 48, 3), np.uint8)
    frames[:, :, :24] = 200 * (np.arange(60) >= 30)[:, None, None, None]  # Half of it lights up in the middle.
    monkeypatch.setenv("IMAGEIO_FFMPEG_NO_PREVENT_SIGINT", "1")  # JAX warns of how it does that.
    stream = imageio_ffmpeg.write_frames(str(film), (48, 32), fps=30, macro_block_size=2)
    stream.send(None)
    for frame in frames:
        stream.send(frame)
    stream.close()
    sent = []

    class Run:
        id, define_metric, log, finish = "a", lambda *_, **__: None, lambda _, v: sent.append(v), lambda _: None

    fake = types.ModuleType("wandb")
    vars(fake).update(init=lambda **_: Run(), Video=lambda path, format: (path, format))
    monkeypatch.setitem(sys.modules, "wandb", fake)
    with logger(tmp_path / "run", use_tensorboard=True, trackers=["wandb"]) as log:
        log.log(10, {"x": 1.0})
        log.film("film", film)
    assert sent[-1] == {"film": (str(film), "mp4")}
    assert ("film", 10, 0.0) in events(tmp_path / "run" / "tensorboard" / "mean")
    written = b"".join(path.read_bytes() for path in (tmp_path / "run" / "tensorboard" / "mean").iterdir())
    start = written.index(b"GIF89a")
    shown = imageio.imread(written[start : written.index(b"\x00;", start) + 2], extension=".gif", index=None)
    assert 25 <= len(shown) <= 35 and shown.shape[1:] == (32, 48, 3)
    assert shown[0, :, :20].mean() < 20 and shown[-1, :, :20].mean() > 150 and shown[-1, :, 28:].mean() < 20


def test_iterations_are_told_to_trackers_alone_and_once(tmp_path):
    values = np.arange(10.0).reshape(5, 2)  # 5 iterations of 2 seeds
    with logger(tmp_path, use_tensorboard=True) as log:
        log.iterations(100, {"kl": values}, batch=10, every=2)
        log.log(150, {"kl": values.mean(axis=0), "return_mean": 7.0})
    told = events(tmp_path / "tensorboard" / "seed1")
    assert told == [
        *(("policy/kl", 120, 2.0), ("policy/kl", 140, 6.0), ("policy/kl", 150, 9.0)),
        ("return/return_mean", 150, 7.0),
    ]
    assert [(line["step"], line["kl"]) for line in read_metrics(tmp_path)] == [(150, 4.0), (150, 5.0)]


def test_mlflow_gets_settings_metrics_and_figures_and_resumes_its_run(tmp_path, monkeypatch):
    told, folder = [], tmp_path / "run"

    class Client:
        def get_experiment_by_name(self, name):
            return None

        def create_experiment(self, name):
            return f"the {name}"

        def create_run(self, experiment, run_name):
            told.append((experiment, run_name))
            return self.get_run("id7")

        def get_run(self, run):
            return types.SimpleNamespace(info=types.SimpleNamespace(run_id=run))

        def log_batch(self, run, metrics=(), params=()):
            told.extend((run, *held) for held in (*metrics, *params))

        def log_artifact(self, run, path):
            assert isinstance(path, str)
            told.append((run, path))

        def set_terminated(self, run, status="FINISHED"):
            told.append((run, status))

    names = {
        "mlflow": {},
        "mlflow.tracking": {"MlflowClient": Client},
        "mlflow.entities": {"Metric": lambda n, v, _, step: (n, v, step), "Param": lambda n, v: (n, v)},
        "mlflow.exceptions": {"MlflowException": RuntimeError},
    }
    for name, held in names.items():
        module = types.ModuleType(name)
        vars(module).update(held)
        monkeypatch.setitem(sys.modules, name, module)
    for step in (1, 2):
        with logger(folder, trackers=["mlflow"], run_config={"a": {"b": 0.5}}) as log:
            log.log(step, {"kl": np.array([1.0, math.nan])})
            log.figure("curve", "curve.png")
            log.film("film", "film.mp4")
    assert told[:2] == [("the gailfe", "hopper gail"), ("id7", "a.b", "0.5")]
    assert told[2:6] == [
        *(("id7", "policy/kl", 1.0, 1), ("id7", "policy/kl.seed0", 1.0, 1)),
        *(("id7", "curve.png"), ("id7", "film.mp4")),
    ]
    assert told[6:9] == [("id7", "FINISHED"), ("id7", "RUNNING"), ("id7", "policy/kl", 1.0, 2)]

    def fail(*_, **__):
        raise RuntimeError("the server\nis gone")

    Client.log_batch = fail
    with logger(folder, trackers=["mlflow"]) as log:
        with pytest.warns(GailfeWarning, match="^mlflow: .*the server.*; the run goes on without it"):
            log.log(3, {"kl": 1.0})
        log.log(4, {"kl": 1.0})
    assert read_metrics(folder)[-1]["step"] == 4


def test_mlflow_missing_is_one_clear_error(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "mlflow", None)
    with pytest.raises(GailfeError, match=r"^mlflow: not installed; expected `pip install 'gailfe-jax\[mlflow\]'`"):
        logger(tmp_path, trackers=["mlflow"])


@pytest.mark.parametrize("terminal", [True, False])
def test_what_takes_a_while_is_said_before_it_is_done(tmp_path, terminal):
    out = console(force_terminal=terminal, color_system=None)
    with logger(tmp_path, quiet=False, console=out) as log:
        log.phase("compiling gail on hopper; about 9 s on two free cores")
        assert "compiling gail on hopper; about 9 s on two free cores" in out.file.getvalue()
        log.log(10, {"return_mean": 1.0}, doctor="nothing stands out")
    text = out.file.getvalue()
    assert "doctor: nothing stands out" in text
    assert ("about 9 s on two free cores: 0s" if terminal else "free cores ...") in text


@pytest.mark.parametrize(("seconds", "text"), [(0.4, "0s"), (59.6, "1m00s"), (125, "2m05s"), (7384, "2h03m")])
def test_durations(seconds, text):
    assert display.duration(seconds) == text
