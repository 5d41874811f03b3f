"""Writes `files/`: small recordings by the libraries whose layouts they have.

The tests read what is committed, and this shows where it comes from. It needs `h5py`, `minari[hdf5,arrow]`, `datasets`,
`jsonpickle` and `imitation` (`pip install --no-deps imitation`, whose data module needs only the name of torch):

    python tests/data/recordings/write_files.py

All hold the same three episodes of 6, 4 and 5 steps, `OBS` and `ACTION` numbers each, from `episodes()`: the first is
terminated, the second is truncated, and the third stops in its midst where a layout can say so.
"""

from __future__ import annotations

import csv
import json
import os
import pathlib
import shutil
import sys
import types

import numpy as np

FILES = pathlib.Path(__file__).resolve().parent / "files"
OBS, ACTION, LENGTHS = 3, 2, (6, 4, 5)


def episodes() -> list[dict[str, np.ndarray]]:
    """`obs [T + 1, o]`, `action [T, a]` and `reward [T]` in float64, of each episode."""
    rng = np.random.default_rng(7)
    return [
        {
            "obs": rng.normal(size=(length + 1, OBS)),
            "action": rng.uniform(-1, 1, (length, ACTION)),
            "reward": rng.normal(size=length),
        }
        for length in LENGTHS
    ]


def flat(field: str) -> np.ndarray:
    """A field of all episodes one after the other, without the last observations."""
    return np.concatenate([episode[field][: len(episode["action"])] for episode in episodes()])


def marks(which: int) -> np.ndarray:
    """A mark in the last row of one episode."""
    ends = np.zeros(sum(LENGTHS), bool)
    ends[np.cumsum(LENGTHS)[which] - 1] = True
    return ends


def write_d4rl() -> None:
    import h5py

    with h5py.File(FILES / "d4rl.hdf5", "w", libver="latest") as file:
        for name, field in (("observations", "obs"), ("actions", "action"), ("rewards", "reward")):
            file.create_dataset(name, data=flat(field).astype(np.float32), compression="gzip")
        file["terminals"], file["timeouts"] = marks(0), marks(1)
        file["next_observations"] = np.concatenate([episode["obs"][1:] for episode in episodes()]).astype(np.float32)
        file["infos/action_log_probs"] = np.zeros(sum(LENGTHS))
        file["metadata/algorithm"] = "SAC"
    with h5py.File(FILES / "d4rl_without_marks.hdf5", "w", libver="latest") as file:
        file["observations"], file["actions"] = flat("obs"), flat("action")


def write_robomimic() -> None:
    import h5py

    with h5py.File(FILES / "robomimic.hdf5", "w", libver="latest") as file:
        data = file.create_group("data")
        data.attrs["total"] = sum(LENGTHS)
        data.attrs["env_args"] = json.dumps({"env_name": "Lift", "env_type": 1, "env_kwargs": {}})
        for number, episode in enumerate(episodes()):
            demo = data.create_group(f"demo_{number}")
            length = len(episode["action"])
            demo.attrs["num_samples"] = length
            demo["actions"], demo["rewards"] = episode["action"], (np.arange(length) == length - 1).astype(float)
            demo["dones"] = (np.arange(length) == length - 1).astype(int)
            demo["states"] = np.zeros((length, 4))
            for group, part in (("obs", episode["obs"][:-1]), ("next_obs", episode["obs"][1:])):
                demo[f"{group}/object"], demo[f"{group}/robot0_eef_pos"] = part[:, :1], part[:, 1:]
                demo[f"{group}/agentview_image"] = np.zeros((length, 2, 2, 3), np.uint8)
        file["mask/train"] = np.array([b"demo_0", b"demo_2"])


def write_minari() -> None:
    os.environ["MINARI_DATASETS_PATH"] = str(FILES / "minari")
    import gymnasium
    import minari

    for kind in ("hdf5", "arrow"):
        buffers = []
        for number, episode in enumerate(episodes()):
            length = len(episode["action"])
            buffers.append(
                minari.data_collector.EpisodeBuffer(
                    observations=list(episode["obs"]),
                    actions=list(episode["action"]),
                    rewards=list(episode["reward"]),
                    terminations=[number == 0 and step == length - 1 for step in range(length)],
                    truncations=[number == 1 and step == length - 1 for step in range(length)],
                    infos={"success": np.full(length + 1, number != 2)},
                )
            )
        minari.create_dataset_from_buffers(
            f"tiny/{kind}-v0", buffers, env="Pendulum-v1", data_format=kind,
            observation_space=gymnasium.spaces.Box(-np.inf, np.inf, (OBS,), np.float64),
            action_space=gymnasium.spaces.Box(-1, 1, (ACTION,), np.float64),
        )  # fmt: skip
    pack(FILES / "minari" / "tiny" / "hdf5-v0" / "data" / "main_data.hdf5")


def pack(path: pathlib.Path) -> None:
    """The same content in less room: Minari's chunks are made for long episodes."""
    import h5py

    whole = path.with_suffix(".whole")
    path.rename(whole)
    with h5py.File(whole) as old, h5py.File(path, "w", libver="latest") as new:
        new.attrs.update(old.attrs)

        def copy(name: str, item: h5py.Dataset | h5py.Group) -> None:
            made = new.create_group(name) if isinstance(item, h5py.Group) else new.create_dataset(name, data=item[()])
            made.attrs.update(item.attrs)

        old.visititems(copy)
    whole.unlink()


def write_imitation() -> None:
    import datasets  # noqa: F401 - before it, torch must not seem to be there
    import jsonpickle  # noqa: F401

    torch, utils = types.ModuleType("torch"), types.ModuleType("torch.utils")
    torch.Tensor, utils.data, torch.utils = object, types.SimpleNamespace(Dataset=type("Dataset", (), {})), utils  # type: ignore
    sys.modules |= {"torch": torch, "torch.utils": utils}
    for package in ("imitation", "imitation.data"):
        # Its __init__ modules import what learns.
        sys.modules[package] = types.ModuleType(package)
        spec = __import__("importlib.util").util.find_spec
        place = pathlib.Path(spec("jsonpickle").origin).parent.parent / package.replace(".", "/")  # type: ignore
        sys.modules[package].__path__ = [str(place)]
    from imitation.data import huggingface_utils
    from imitation.data.types import TrajectoryWithRew

    del sys.modules["torch"], sys.modules["torch.utils"]
    trajectories = [
        TrajectoryWithRew(
            obs=episode["obs"].astype(np.float32), acts=episode["action"].astype(np.float32), infos=None,
            terminal=number < 2, rews=episode["reward"],
        )
        for number, episode in enumerate(episodes())
    ]  # fmt: skip
    huggingface_utils.trajectories_to_dataset(trajectories).save_to_disk(FILES / "imitation")


def write_lerobot() -> None:
    import datasets

    length = sum(LENGTHS)
    frame = np.concatenate([np.arange(n) for n in LENGTHS])
    number = np.repeat(np.arange(len(LENGTHS)), LENGTHS)
    columns = {
        "observation.state": (flat("obs"), datasets.Sequence(datasets.Value("float32"), length=OBS)),
        "action": (flat("action"), datasets.Sequence(datasets.Value("float32"), length=ACTION)),
        "next.reward": (flat("reward"), datasets.Value("float32")),
        "next.done": (marks(0) | marks(1) | marks(2), datasets.Value("bool")),
        "next.success": (marks(0) | marks(1), datasets.Value("bool")),
        "timestamp": (frame / 30, datasets.Value("float32")),
        "frame_index": (frame, datasets.Value("int64")),
        "episode_index": (number, datasets.Value("int64")),
        "index": (np.arange(length), datasets.Value("int64")),
        "task_index": (np.zeros(length, int), datasets.Value("int64")),
    }
    shapes = {"observation.state": [OBS], "action": [ACTION]}
    described = {
        name: {"dtype": getattr(kind, "feature", kind).dtype, "shape": shapes.get(name, [1]), "names": None}
        for name, (_, kind) in columns.items()
    }

    def rows(chosen: np.ndarray) -> datasets.Dataset:
        features = datasets.Features({name: kind for name, (_, kind) in columns.items()})
        return datasets.Dataset.from_dict(
            {name: values[chosen].tolist() for name, (values, _) in columns.items()}, features=features
        )

    for version, parts in (("v2.1", [number == n for n in range(len(LENGTHS))]), ("v3.0", [number >= 0])):
        folder = FILES / f"lerobot_{version}"
        (folder / "data" / "chunk-000").mkdir(parents=True)
        (folder / "meta").mkdir()
        file = "episode_{:06d}.parquet" if version == "v2.1" else "file-{:03d}.parquet"
        for place, chosen in enumerate(parts):
            rows(chosen).to_parquet(folder / "data" / "chunk-000" / file.format(place))
        info = {
            "codebase_version": version, "robot_type": "so100", "total_episodes": len(LENGTHS), "total_frames": length,
            "fps": 30, "splits": {"train": f"0:{len(LENGTHS)}"}, "features": described,
            "data_path": "data/chunk-{episode_chunk:03d}/episode_{episode_index:06d}.parquet"
            if version == "v2.1" else "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet",
        }  # fmt: skip
        (folder / "meta" / "info.json").write_text(json.dumps(info, indent=1) + "\n")
        if version == "v2.1":
            lines = [json.dumps({"episode_index": n, "tasks": ["reach"], "length": LENGTHS[n]}) for n in range(3)]
            (folder / "meta" / "episodes.jsonl").write_text("\n".join(lines) + "\n")
        else:
            (folder / "meta" / "episodes" / "chunk-000").mkdir(parents=True)
            table = {"episode_index": [0, 1, 2], "tasks": [["reach"]] * 3, "length": list(LENGTHS)}
            path = folder / "meta" / "episodes" / "chunk-000" / "file-000.parquet"
            datasets.Dataset.from_dict(table).to_parquet(path)


def write_plain() -> None:
    np.savez(
        FILES / "plain.npz", observations=flat("obs"), actions=flat("action"), rewards=flat("reward"),
        terminals=marks(0), timeouts=marks(1),
    )  # fmt: skip
    # As stable-baselines 2 recorded experts.
    starts = np.isin(np.arange(sum(LENGTHS)), [0, *np.cumsum(LENGTHS)[:-1]])
    np.savez(
        FILES / "starts.npz", obs=flat("obs"), actions=flat("action"), rewards=flat("reward"), episode_starts=starts,
        episode_returns=np.zeros(3),
    )  # fmt: skip
    (FILES / "npy").mkdir()
    for name, array in (("obs", flat("obs")), ("acts", flat("action")), ("episode_ends", np.cumsum(LENGTHS))):
        np.save(FILES / "npy" / f"{name}.npy", array)
    (FILES / "folder").mkdir()
    for number, episode in enumerate(episodes()):
        np.savez(FILES / "folder" / f"{number}.npz", **episode, terminated=number == 0)  # type: ignore[arg-type]
    with open(FILES / "plain.csv", "w", newline="") as file:
        writer = csv.writer(file)
        names = ("x", "y", "speed", "left", "right", "reward", "episode", "fell")
        writer.writerow(names)
        obs, action, reward = flat("obs"), flat("action"), flat("reward")
        number = np.repeat(np.arange(len(LENGTHS)), LENGTHS)
        for row in range(sum(LENGTHS)):
            cells = [*map(repr, [*map(float, obs[row]), *map(float, action[row]), float(reward[row])])]
            writer.writerow([*cells, f"take {number[row]}", "true" if number[row] == 0 else "false"])


def main() -> None:
    shutil.rmtree(FILES, ignore_errors=True)
    FILES.mkdir()
    for write in (write_d4rl, write_robomimic, write_minari, write_imitation, write_lerobot, write_plain):
        write()
        print(write.__name__)
    for path in FILES.rglob("*.md"):
        path.unlink()


if __name__ == "__main__":
    main()
