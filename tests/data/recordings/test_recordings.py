"""Every layout that is read, in small files that its own library wrote (see `write_files.py`)."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from gailfe_jax.data import recordings
from gailfe_jax.data.episodes import Episode, Recording, build
from gailfe_jax.data.recordings import read_recording, recording_formats, register_recording_format
from gailfe_jax.data.recordings.fields import Request
from gailfe_jax.errors import GailfeError
from tests.data.made import one_line
from tests.data.recordings.write_files import FILES, LENGTHS, episodes

CSV = ("obs=x,y,speed", "action=left,right")
# Source, layout, words of --map, whether the last observation is known, and how the three episodes end.
CUT_LAST = ("terminated", "truncated", "cut")
CASES = {
    "d4rl": ("d4rl.hdf5", "d4rl", (), True, CUT_LAST),
    "robomimic": ("robomimic.hdf5", "robomimic", (), True, ("over",) * 3),
    "robomimic by name": ("robomimic.hdf5", "robomimic", ("obs=object,robot0_eef_pos",), True, ("over",) * 3),
    "minari": ("minari/tiny/hdf5-v0", "minari", (), True, CUT_LAST),
    "minari's file": ("minari/tiny/hdf5-v0/data/main_data.hdf5", "minari", (), True, CUT_LAST),
    "minari in Arrow": ("minari/tiny/arrow-v0", "minari", (), True, CUT_LAST),
    "imitation": ("imitation", "imitation", (), True, ("over", "over", "cut")),
    "lerobot 2.1": ("lerobot_v2.1", "lerobot", (), False, ("over",) * 3),
    "lerobot 3.0": ("lerobot_v3.0", "lerobot", (), False, ("over",) * 3),
    "npz": ("plain.npz", "npz", (), False, CUT_LAST),
    "npz with starts": ("starts.npz", "npz", (), False, ("unknown",) * 3),
    "npy": ("npy", "npz", (), False, ("unknown",) * 3),
    "npz each": ("folder", "npz", (), True, ("terminated", "cut", "cut")),
    "csv": ("plain.csv", "csv", CSV, False, ("unknown",) * 3),
}
NO_REWARD = ("npy",)
SUCCEEDED = {"robomimic", "robomimic by name"}  # whose reward is 1 at the end
FLOAT32 = {"d4rl", "imitation", "lerobot 2.1", "lerobot 3.0"}


@pytest.mark.parametrize("case", CASES)
def test_every_layout_holds_the_same_observations_where_actions_are_left_out(case):
    file, layout, words, followed, ends = CASES[case]
    if "imitation" in file or "lerobot" in file or "arrow" in file:
        pytest.importorskip("pyarrow", reason="pyarrow is an optional extra")
    words = [word for word in words if not word.startswith("action=")]
    recording = read_recording(FILES / file, Request.of_words(words, actions="none"))
    assert [episode.end for episode in recording.episodes] == list(ends)
    # In the CSV file actions have names of their own.
    assert ("as --no-actions says" in " ".join(recording.notes)) == (layout != "csv")
    left = build(recording.name, recording.episodes, ends="truncated").trajectories
    assert left.lengths.tolist() == [length if followed else length - 1 for length in LENGTHS] and not left.acted
    for i, made in enumerate(episodes()):
        obs = made["obs"].astype(np.float32)
        np.testing.assert_array_equal(left.trajectory(i).next_obs, obs[1 : left.lengths[i] + 1])


@pytest.mark.parametrize("case", CASES)
def test_every_layout_holds_the_same_episodes(case):
    file, layout, words, followed, ends = CASES[case]
    if "imitation" in file or "lerobot" in file or "arrow" in file:
        pytest.importorskip("pyarrow", reason="pyarrow is an optional extra")
    recording = read_recording(FILES / file, Request.of_words(words))
    assert (recording.format, recording.name) == (layout, str(FILES / file))
    assert [episode.end for episode in recording.episodes] == list(ends)
    built = build(recording.name, recording.episodes, ends="truncated")
    left = built.trajectories
    assert left.lengths.tolist() == [length if followed else length - 1 for length in LENGTHS]
    for i, made in enumerate(episodes()):
        one, steps = left.trajectory(i), left.lengths[i]
        obs = made["obs"].astype(np.float32)
        np.testing.assert_array_equal(one.obs, obs[:steps])
        np.testing.assert_array_equal(one.next_obs, obs[1 : steps + 1])
        np.testing.assert_array_equal(one.action, made["action"].astype(np.float32)[:steps])
        if case in SUCCEEDED:
            assert one.reward is not None and one.reward.tolist() == [0.0] * (steps - 1) + [1.0]
        elif case in NO_REWARD:
            assert one.reward is None
        else:
            np.testing.assert_array_equal(one.reward, made["reward"].astype(np.float32)[:steps])
        assert one.terminated[-1] == (ends[i] == "terminated")
        assert one.truncated[-1] != one.terminated[-1]
    left_out = [note for note in built.notes if "the last pair of 3 episodes left out" in note]
    assert bool(left_out) is not followed
    assert ("with it rewards of" in left_out[0]) is (case not in NO_REWARD) if left_out else True
    rounded = [note for note in built.notes if note.startswith("obs: float64 made float32, off by up to ")]
    assert bool(rounded) is (case not in FLOAT32)


def test_the_cases_cover_every_layout():
    assert {layout for _, layout, *_ in CASES.values()} == set(recording_formats()) - {"gailfe"}


@pytest.mark.parametrize("case", ["d4rl", "robomimic", "minari", "npz each", "csv"])
def test_what_a_recording_says_is_kept(case):
    file, _, words, *_ = CASES[case]
    recording = read_recording(FILES / file, Request.of_words(words))
    assert recording.env_id == {"robomimic": "Lift", "minari": "Pendulum-v1"}.get(case)
    said = "\n".join(recording.notes)
    if case == "robomimic":
        assert "obs: obs/agentview_image left out, for they are no vectors of numbers" in said
        assert "obs: obs/object, obs/robot0_eef_pos, joined in this order" in said
    if case == "csv":
        assert "obs: x, y, speed, joined in this order" in said


@pytest.mark.parametrize(
    ("case", "label", "failed"),
    [("minari", "infos/success", [0, 0, 1]), ("lerobot 3.0", "next.success", [0, 0, 1]), ("csv", "fell", [1, 0, 0])],
)
def test_labels_come_from_a_column(case, label, failed):
    pytest.importorskip("pyarrow", reason="pyarrow is an optional extra")
    file, _, words, *_ = CASES[case]
    request = Request.of_words(words, label=label, label_means_failed=case == "csv")
    built = build("x", read_recording(FILES / file, request).episodes, ends="truncated")
    assert built.failed.tolist() == failed
    assert np.isnan(
        build("x", read_recording(FILES / file, Request.of_words(words)).episodes, ends="truncated").failed
    ).all()
    with pytest.raises(GailfeError, match=r"(no column and no file 'none'|no 'none' in it); there are "):
        read_recording(FILES / file, dataclasses.replace(request, label="none"))


def test_d4rls_episodes_end_where_something_tells(tmp_path):
    h5py = pytest.importorskip("h5py")
    with h5py.File(FILES / "d4rl.hdf5") as file:
        whole = {name: file[name][()] for name in ("observations", "actions", "terminals", "next_observations")}

    def lengths(*left_out, limit=None):
        with h5py.File(tmp_path / "x.hdf5", "w") as file:
            for name, array in whole.items():
                if name not in left_out:
                    file[name] = array
        found = read_recording(tmp_path / "x.hdf5", Request(time_limit=limit))
        return [len(episode.action) for episode in found.episodes], list(found.notes), found.episodes[0].end

    said = "episodes: 1 more ends, where an observation does not follow the one before"
    assert lengths() == ([6, 4, 5], [said], "terminated")
    assert lengths("terminals") == ([6, 4, 5], [said.replace("1 more", "2 more")], "unknown")
    # D4RL's own rule, where the next observations are not there.
    only = ("next_observations",)
    assert lengths(*only, limit=5)[0] == [5, 1, 5, 4]
    assert lengths(*only)[:2] == ([6, 9], ["episodes: no mark of a time limit in it; --env would give the time limit"])
    none = lengths("terminals", *only)
    assert none[0] == [15] and none[1] == [
        "episodes: nothing that tells episodes apart in it; --env would give the time limit"
    ]
    assert lengths("terminals", *only, limit=6)[0] == [6, 6, 3]


def test_arrays_of_three_dimensions_hold_an_episode_each(tmp_path):
    rng = np.random.default_rng(0)
    obs, acs = rng.normal(size=(3, 8, 4)).astype(np.float32), rng.normal(size=(3, 8, 2)).astype(np.float32)
    done = np.zeros((3, 8), bool)
    done[1, 4] = True
    np.savez(tmp_path / "x.npz", obs=obs, acs=acs, rews=np.ones((3, 8)), dones=done, won=[1, 0, 1])
    found = read_recording(tmp_path / "x.npz", Request(label="won", label_means_failed=False))
    assert [(len(e.action), e.end, e.failed) for e in found.episodes] == [
        (8, "cut", False), (5, "over", True), (8, "cut", False),
    ]  # fmt: skip
    built = build("x", found.episodes, ends="terminated")
    # The second one's last observation is there: it stands in the row behind its end.
    assert built.trajectories.lengths.tolist() == [7, 5, 7]
    np.testing.assert_array_equal(built.trajectories.trajectory(1).next_obs, obs[1, 1:6])


def test_rows_are_put_into_the_order_of_their_steps(tmp_path):
    rows = [(0, 0, 1.0), (0, 2, 3.0), (0, 1, 2.0), (1, 0, 5.0), (1, 1, 6.0)]
    lines = [f"{episode},{step},{x},0.5" for episode, step, x in rows]
    (tmp_path / "x.csv").write_text("episode_index,frame_index,obs_0,action\n" + "\n".join(lines) + "\n")
    found = read_recording(tmp_path / "x.csv")
    assert [episode.obs.reshape(-1).tolist() for episode in found.episodes] == [[1, 2, 3], [5, 6]]
    assert "episodes: rows put into the order of their steps" in found.notes
    (tmp_path / "x.csv").write_text("episode_index,frame_index,obs_0,action\n" + "\n".join([*lines, lines[0]]) + "\n")
    with pytest.raises(GailfeError, match=r"x\.csv: field 'step': step 0 of episode 0 is there twice"):
        read_recording(tmp_path / "x.csv")


BAD_CSV = {
    "": "its first row has no names",
    "1,2\n3,4\n": "its first row has no names",
    "obs_0,obs_0\n1,2\n": "field 'obs_0': a column that is there twice",
    "obs_0,action\n1,2\n3\n": "line 3: 1 cells, expected the 2 of the first row",
    "obs_0,action\n1,push\n": "line 2: field 'action': 'push', expected a number",
    "x,action\n1,2\n": "field 'obs': missing; there are action, x; expected --map obs=NAME, which says it",
    "obs_0,torque\n1,2\n": "field 'action': missing; there are obs_0, torque",
    'obs_0,action\n"1,2\n': "line 2: unexpected end of data; expected CSV with short cells",
}


@pytest.mark.parametrize("text", BAD_CSV, ids=range(len(BAD_CSV)))
def test_csv_that_is_refused(tmp_path, text):
    (tmp_path / "x.csv").write_text(text)
    with pytest.raises(GailfeError) as error:
        read_recording(tmp_path / "x.csv")
    assert one_line(error).startswith(str(tmp_path / "x.csv")) and BAD_CSV[text] in str(error.value)


def test_columns_are_found_by_pattern_and_number(tmp_path):
    names = [f"obs_{i}" for i in range(11)]
    (tmp_path / "x.tsv").write_text(
        "\t".join([*names, "tau_l", "tau_r"]) + "\n" + "\t".join(map(str, range(13))) + "\n"
    )
    found = read_recording(tmp_path / "x.tsv", Request.of_words(["action=tau_*"]))
    assert found.episodes[0].obs.tolist() == [list(range(11))]  # obs_10 last, not after obs_1
    assert found.episodes[0].action.tolist() == [[11, 12]]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["obs"], "map: got 'obs'; expected FIELD=NAME"),
        (["observation=x"], "map: got 'observation=x'; expected FIELD=NAME"),
        (["obs="], "map: got 'obs='"),
        (["obs=x", "obs=y"], "map: obs is given twice"),
    ],
)
def test_words_of_a_map_that_are_refused(words, message):
    with pytest.raises(GailfeError) as error:
        Request.of_words(words)
    assert message in one_line(error)


def test_what_is_no_recording(tmp_path):
    (tmp_path / "notes.txt").write_text("hello")
    with pytest.raises(GailfeError, match=r"notes\.txt: of no known layout, expected one of gailfe: .*; lerobot: "):
        read_recording(tmp_path / "notes.txt")
    with pytest.raises(GailfeError, match=r"none\.csv: no such file or folder"):
        read_recording(tmp_path / "none.csv")
    with pytest.raises(GailfeError, match=r"minari:tiny/none-v0: no such dataset on this machine"):
        read_recording("minari:tiny/none-v0")
    with pytest.raises(GailfeError, match=r"format: got 'bag'; expected one of gailfe, minari, "):
        read_recording(tmp_path / "notes.txt", format="bag")


def test_minaris_datasets_are_found_where_minari_keeps_them(monkeypatch):
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(FILES / "minari"))
    assert len(read_recording("minari:tiny/hdf5-v0").episodes) == 3


def test_pyarrow_is_optional(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    with pytest.raises(
        GailfeError, match=r"lerobot_v3\.0: needs the package pyarrow \(pip install 'gailfe-jax\[data\]'\)"
    ):
        read_recording(FILES / "lerobot_v3.0")


def test_a_layout_of_ones_own(tmp_path, monkeypatch):
    monkeypatch.setattr(recordings, "_formats", dict(recordings._formats))

    def read(source: str, request: Request) -> Recording:
        rows = np.loadtxt(source)
        return Recording(source, "rows", [Episode(rows[:, :2], rows[:, 2:])])

    register_recording_format("rows", reader=read, recognises=lambda source: source.endswith(".rows"))
    np.savetxt(tmp_path / "x.rows", np.ones((4, 3)))
    assert read_recording(tmp_path / "x.rows").episodes[0].action.shape == (4, 1)
    (tmp_path / "x.rows").write_text("a b c\n")
    with pytest.raises(GailfeError, match=r"x\.rows: not readable as rows, damaged or foreign \(ValueError"):
        read_recording(tmp_path / "x.rows")
    register_recording_format("rows", reader=lambda source, request: [], recognises=lambda s: True)  # type: ignore
    with pytest.raises(GailfeError, match="the reader of format 'rows' returned list, expected a Recording"):
        read_recording(tmp_path / "x.rows")
    with pytest.raises(GailfeError, match="got the name 'csv'; expected one word other than gailfe, minari"):
        register_recording_format("csv", reader=read, recognises=lambda s: True)
