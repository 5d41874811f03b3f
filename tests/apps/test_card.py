from __future__ import annotations

import json

import pytest

from gailfe_jax.apps.card import write_card
from gailfe_jax.errors import GailfeError, GailfeWarning
from tests.apps.test_export import evaluation, metrics
from tests.runs import make_run


@pytest.fixture
def run_dir(tmp_path):
    return make_run(tmp_path / "run", seeds=(1, 2, 10))


def front(text):
    """The head, in which every value is a JSON text, a word or true and false."""
    assert text.startswith("---\n")
    return text.split("---\n")[1]


def test_a_card_says_what_is_known(run_dir):
    evaluation(run_dir, [5.0, 6.0, 7.0])
    record = json.loads((run_dir / "config.json").read_text())
    record["provenance"] = {"command": "gailfe train gail --out runs/x", "hardware": {"cpu": "a|b", "cores": 2}}
    record["demos"] |= {"demos": "/somewhere/else/demos.npz", "expert_pairs": 400, "annotator_reads_reward": True}
    (run_dir / "config.json").write_text(json.dumps(record))
    (run_dir / "summary.json").write_text(json.dumps({"steps": 1000, "finished": False}))
    path = write_card(run_dir, license="apache-2.0", name='mine: "so"')
    assert path == run_dir / "README.md"
    text = path.read_text()
    head = front(text)
    assert 'license: "apache-2.0"\n' in head and '- name: "mine: \\"so\\""\n' in head
    assert 'value: "6.00 +/- 0.82"\n' in head and '- "hopper"\n' in head
    assert "| 10 | 7 | 1 |" in text and "interquartile mean of the returns is 6" in text
    assert "gailfe train gail --out runs/x" in text and "a/b, 2 cores" in text
    assert "| file | demos.npz |" in text and "somewhere" not in text
    assert 'Policy.load("policies/seed_10.safetensors")' in text
    assert "| 0 | `joint:rootz.qpos` | m |" in text and "| 200 N m | -1 | 1 |" in text
    limits = text[text.index("## Limits") :]
    for word in ("interrupted", "3 seeds say little", "true reward", "It imitates", "no run on a robot"):
        assert word in limits, word


def test_a_card_without_an_evaluation_takes_the_runs_own(run_dir):
    metrics(run_dir, return_mean=[1.0, 3.0, 2.0])
    text = write_card(run_dir).read_text()
    assert "the run's own last evaluation" in text and "| 2 | 203 |" in text
    assert "seed_2.safetensors" in text
    evaluation(run_dir, [5.0, 6.0, 7.0], age=60)
    text = write_card(run_dir, seed=1, overwrite=True).read_text()
    assert "evaluation.json is older than the policies" in text and "seed_1.safetensors" in text


def test_a_card_is_not_written_over(run_dir, tmp_path):
    metrics(run_dir, return_mean=[1.0, 3.0, 2.0])
    (run_dir / "README.md").write_text("mine")
    with pytest.raises(GailfeError, match=r"out: .*README.md exists; expected another --out, or --overwrite"):
        write_card(run_dir)
    assert (run_dir / "README.md").read_text() == "mine"
    with pytest.raises(GailfeError, match="exists"):
        write_card(run_dir, out=tmp_path, overwrite=True)
    assert write_card(run_dir, out=tmp_path / "deep" / "card.md").is_file()
    with pytest.raises(GailfeError, match=r"config.json: no such file; expected a run folder"):
        write_card(tmp_path)


@pytest.mark.parametrize(
    ("damage", "field"),
    [({"provenance": 3}, "provenance"), ({"demos": {"provenance": [1], "expert_pairs": 2}}, "demos.provenance")],
)
def test_a_record_of_other_types_is_refused(run_dir, damage, field):
    record = json.loads((run_dir / "config.json").read_text()) | damage
    (run_dir / "config.json").write_text(json.dumps(record))
    with pytest.raises(GailfeError, match=rf"config.json: field '{field}': got .*; expected a table"):
        write_card(run_dir)


def test_odd_records_make_a_card_all_the_same(run_dir):
    metrics(run_dir, return_mean=[1.0, 3.0, 2.0])
    record = json.loads((run_dir / "config.json").read_text()) | {"method": {}}
    (run_dir / "config.json").write_text(json.dumps(record))
    (run_dir / "summary.json").write_text("[")
    with pytest.warns(GailfeWarning, match=r"summary\.json: .*what it held is left out") as said:
        assert "## Limits" in write_card(run_dir).read_text()
    assert len(said) == 1
