"""How far a watched run is, and who is answered what; the page in a browser is test_watch_page's business."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import threading
import urllib.error
import urllib.request

import numpy as np
import pytest

from gailfe_jax.cli.main import main
from gailfe_jax.errors import GailfeError
from gailfe_jax.io.lock import HOLDER
from gailfe_jax.report.live import Watch, progress
from gailfe_jax.report.under_way import read_sweep
from tests.report.made import STEPS, metrics, write_run, write_sweep


@contextlib.contextmanager
def serving(folder):
    with Watch(folder) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


def ask(server, path):
    with urllib.request.urlopen(server.url + path, timeout=20) as answer:
        return answer.headers, answer.read().decode()


def hold(folder, process=None):
    (folder / HOLDER).write_text(json.dumps({"process": process or os.getpid(), "host": socket.gethostname()}))


def test_how_far_a_run_is(tmp_path):
    folder = write_run(tmp_path / "run")
    assert progress(folder) == "Training has ended. Step 6,000 of 6,000 (100%)."
    (folder / "summary.json").unlink()
    assert progress(folder).startswith("Training has stopped before its end: no process writes to this folder. Step")
    hold(folder)
    assert progress(folder) == (
        "Training goes on. Step 6,000 of 6,000 (100%), evaluated less than a minute ago."
    )  # fmt: skip
    os.utime(folder / "metrics.jsonl", (0, 0))
    assert " days ago." in progress(folder)
    (folder / "metrics.jsonl").unlink()
    assert progress(folder) == "Training goes on. There is no evaluation yet."
    # Killed: its number is nobody's, for it has ended.
    done = subprocess.Popen([sys.executable, "-c", ""])
    done.wait()
    hold(folder, done.pid)
    assert progress(folder).startswith("Training has stopped")


def test_the_page_follows_the_files(tmp_path):
    folder = write_run(tmp_path / "run")
    lines = (folder / "metrics.jsonl").read_text()
    (folder / "metrics.jsonl").unlink()
    (folder / "summary.json").unlink()
    hold(folder)
    with serving(folder) as server:
        headers, text = ask(server, "")
        assert "There is no evaluation yet. The first one brings the curves." in text
        assert "connect-src 'self'" in headers["Content-Security-Policy"]
        assert "frame-ancestors 'none'" in headers["Content-Security-Policy"]
        told = json.loads(ask(server, "state")[1])
        assert told["said"] == "Training goes on. There is no evaluation yet." and told["stamp"] in text
        # A line that is being written is not there yet.
        (folder / "metrics.jsonl").write_text(lines[:-5])
        newer = json.loads(ask(server, "state")[1])
        assert newer["stamp"] != told["stamp"] and "wrong" not in newer
        text = ask(server, "")[1]
        assert newer["stamp"] in text and "no evaluation yet" not in text
        # What cannot be read is said, and the page that there was stays.
        (folder / "config.json").write_text("[")
        broken = json.loads(ask(server, "state")[1])
        assert broken["wrong"] is True and broken["stamp"] == newer["stamp"] and "config.json" in broken["said"]


def test_how_far_a_sweep_is(tmp_path):
    folder = write_sweep(tmp_path / "s")
    stopped = "The sweep has stopped before its end: no process writes to this folder. 1 of 3 settings are done."
    assert progress(folder) == f"{stopped} gailfe sweep --resume goes on."
    hold(folder)
    goes = "The sweep goes on. 1 of 3 settings are done."
    step = "step 6,000 of 6,000 (100%), evaluated less than a minute ago"
    assert progress(folder) == f"{goes} 2 settings train side by side: {step}."
    (folder / "programs" / "0001" / "metrics.jsonl").unlink()
    assert progress(folder) == f"{goes} 2 settings train side by side: there is no evaluation yet."
    shutil.rmtree(folder / "programs")
    assert progress(folder) == goes
    for number in (1, 2):
        shutil.copytree(folder / "settings" / "0000", folder / "settings" / f"{number:04d}")
    (folder / "in_use.json").unlink()
    assert progress(folder) == "The sweep has ended. 3 of 3 settings are done."


def test_settings_that_train_side_by_side_are_told_apart(tmp_path):
    folder = write_sweep(tmp_path / "s")
    found = {series.label: series for series in read_sweep(folder)}
    assert list(found) == ["reward.lr=0.0001", "reward.lr=0.0003", "reward.lr=0.001"]
    for position, label in enumerate(("reward.lr=0.0003", "reward.lr=0.001")):
        series, rows = found[label], (2 * position, 2 * position + 1)
        steps, values = series.curves["return_mean"]
        assert steps.tolist() == [0, *STEPS] and series.seeds == ("0", "1")
        np.testing.assert_allclose(values[:, 0], [10.0 + row for row in rows])
        np.testing.assert_allclose(values[:, 1:], [metrics(row)["return_mean"] for row in rows])
        assert f"reward.lr={series.settings['reward.lr']}" == label and series.folder is None
    # Done while its program still stands there: its own folder counts.
    shutil.copytree(folder / "settings" / "0000", folder / "settings" / "0001")
    assert len(read_sweep(folder)) == 3
    # Nothing has been evaluated, or nothing has begun.
    (folder / "programs" / "0001" / "metrics.jsonl").unlink()
    assert [series.curves for series in read_sweep(folder) if series.folder is None] == [{}]
    shutil.rmtree(folder / "programs")
    assert len(read_sweep(folder)) == 2


@pytest.mark.parametrize("plan", ["[", "[]", '{"../settings": [0]}', '{"0001": 7}', '{"0001": ["x", 99]}'])
def test_a_plan_that_is_odd_leads_nowhere(tmp_path, plan):
    folder = write_sweep(tmp_path / "s")
    (folder / "programs" / "plan.json").write_text(plan)
    assert [series.label for series in read_sweep(folder)] == ["reward.lr=0.0001"]
    assert progress(folder).startswith("The sweep has stopped")


def test_the_page_follows_a_sweep(tmp_path):
    folder = write_sweep(tmp_path / "s")
    done, program = folder / "settings" / "0000", folder / "programs" / "0001"
    shutil.move(done, tmp_path / "done")
    shutil.move(program, tmp_path / "program")
    hold(folder)
    with serving(folder) as server:
        stamps = set()
        for said, label in (
            (None, None),
            ("there is no eval", "lr=0.0003"),
            ("step 6,000", "6,000"),
            ("1 of 3", "0.0001"),
        ):
            if said == "there is no eval":
                shutil.copytree(tmp_path / "program", program, ignore=lambda *_: ["metrics.jsonl"])
            elif said == "step 6,000":
                shutil.copy(tmp_path / "program" / "metrics.jsonl", program)
            elif said == "1 of 3":
                shutil.move(tmp_path / "done", done)
            told, text = json.loads(ask(server, "state")[1]), ask(server, "")[1]
            assert "wrong" not in told and told["stamp"] in text
            stamps.add(told["stamp"])
            assert (said or "0 of 3 settings are done.") in told["said"]
            assert (label or "The first one brings the curves.") in text
        assert len(stamps) == 4
        (folder / "sweep.json").write_text('{"version": 2}')
        assert "sweep.json: damaged" in json.loads(ask(server, "state")[1])["said"]


def test_there_is_nothing_else(tmp_path):
    with serving(write_run(tmp_path / "run")) as server:
        assert server.server_address[0] == "127.0.0.1"
        for path in ("x", "config.json", "../config.json"):
            with pytest.raises(urllib.error.HTTPError, match="404"):
                ask(server, path)
        bare = server.url.replace(server.token, "guess")
        with pytest.raises(urllib.error.HTTPError, match="404"):
            urllib.request.urlopen(bare, timeout=20)
        post = urllib.request.Request(server.url + "state", b"{}", {"Origin": server.url, "Content-Type": "text/plain"})
        with pytest.raises(urllib.error.HTTPError, match="403"):
            urllib.request.urlopen(post, timeout=20)


def test_ctrl_c_ends_it(tmp_path, monkeypatch, capsys):
    write_run(tmp_path / "run")
    monkeypatch.setattr(Watch, "serve_forever", lambda server: (_ for _ in ()).throw(KeyboardInterrupt))
    monkeypatch.setattr("webbrowser.open", lambda url: pytest.fail(f"opened {url}"))
    assert main(["watch", str(tmp_path / "run"), "--no-browser"]) == 0
    shown = capsys.readouterr()
    assert shown.out.startswith("Training has ended. Step 6,000 of 6,000 (100%).\nopen http://127.0.0.1:")
    assert shown.err == ""


@pytest.mark.parametrize("text", ["[", "3", ""])
@pytest.mark.parametrize("sweep", [False, True])
def test_a_damaged_summary_is_said_once(tmp_path, monkeypatch, capsys, text, sweep):
    folder = write_sweep(tmp_path / "watched") if sweep else write_run(tmp_path / "watched")
    damaged = (folder / "settings" / "0000" if sweep else folder) / "summary.json"
    damaged.write_text(text)
    said = []

    def ask_often(server):
        said.append(capsys.readouterr())
        for time in range(3):
            assert "wrong" not in json.loads(server.get("state").body) and server.get("").body
            os.utime(damaged, (time, time))  # So that the page is made anew.
        raise KeyboardInterrupt

    monkeypatch.setattr(Watch, "serve_forever", ask_often)
    assert main(["watch", str(folder), "--no-browser"]) == 0
    assert said[0].err.startswith(f"gailfe: warning: {damaged}: is no ") and said[0].err.count("\n") == 1
    assert capsys.readouterr().err == ""
    if not sweep:
        assert said[0].out.startswith(
            "No process writes to this folder, and its summary.json is damaged, so nothing says whether training has "
            "ended. Step 6,000 of 6,000 (100%). gailfe train --resume writes it anew.\n"
        )
        hold(folder)
        assert progress(folder).startswith("Training goes on.")


def test_what_is_no_run_is_refused(tmp_path):
    with pytest.raises(GailfeError, match=r"config\.json: no such file"):
        Watch(tmp_path)
    with pytest.raises(GailfeError, match="port: got -1"):
        Watch(write_run(tmp_path / "run"), -1)
