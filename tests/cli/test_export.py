from __future__ import annotations

import json

import pytest

from gailfe_jax.cli.main import main
from tests.runs import make_run


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("export {expert}", "to"),
        ("export {expert} --to matlab", "matlab"),
        ("export missing --to numpy", "missing: expected a readable policy file"),
        ("export full --to numpy", "full/policies: no policies; expected the folder of a run"),
        ("export {expert} --to numpy --out full", "out: full exists and is not empty; expected another --out"),
        ("export {expert} --to numpy --out damaged.npz", "out: damaged.npz is a file; expected a folder to write"),
        ("export {expert} --to c --seed 3 --out x", "seed: got 3; nothing reads it"),
        ("export {expert} --to c --env nonsense --out x", "env: unknown task 'nonsense'"),
        ("export damaged.npz --to c", "damaged.npz: expected a policy file in safetensors format"),
        ("card full", "full/config.json: no such file; expected a run folder"),
        ("card missing", "missing/config.json: no such file"),
        ("evaluate damaged.zip --env hopper", "damaged.zip: expected a readable Stable-Baselines3 zip"),
        ("evaluate missing.onnx", "missing.onnx: does not say which task it is for; add --env"),
        ("evaluate {expert} --expert full/notes.zip --episodes 1", "full/notes.zip: expected a readable"),
        ("demos --out x.npz --expert missing.onnx", "missing.onnx: expected a readable ONNX file"),
        ("demos --out x.npz --expert no_such_module:act", "import: no_such_module: no such module"),
        (
            "train dagger --env hopper --expert missing.zip --out r",
            "missing.zip: expected a readable Stable-Baselines3",
        ),
    ],
)
def test_bad_input_ends_in_one_line(refused, words, message):
    refused(words, message)


def test_a_run_is_exported_and_described(tmp_path, capsys):
    run_dir = make_run(tmp_path / "run", seeds=(9, 10))
    lines = [{"seed": seed, "step": 5, "return_mean": float(seed)} for seed in (9, 10)]
    (run_dir / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert main(["export", str(run_dir), "--to", "numpy"]) == 0
    said = capsys.readouterr().out
    assert "policy: seed 10, the best of 2 by return (10, the run's last evaluation)" in said
    assert "check: ok: 32 actions, off by" in said and "policy.py, policy.npz" in said and "python policy.py" in said
    assert main(["export", str(run_dir), "--to", "numpy"]) == 2
    assert "--overwrite" in capsys.readouterr().err
    assert main(["card", str(run_dir)]) == 0
    assert capsys.readouterr().out == f"wrote {run_dir / 'README.md'}\n"


@pytest.mark.parametrize("command", ["export", "card", "demos", "evaluate"])
def test_help_fits(command, capsys):
    with pytest.raises(SystemExit):
        main([command, "--help"])
    assert len(capsys.readouterr().out.splitlines()) <= 70
