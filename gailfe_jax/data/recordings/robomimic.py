"""robomimic's HDF5: a group for each demonstration."""

from __future__ import annotations

from gailfe_jax.data.episodes import Recording
from gailfe_jax.data.recordings.fields import Request, natural
from gailfe_jax.data.recordings.split import one_episode
from gailfe_jax.data.recordings.tree import has_magic, open_tree
from gailfe_jax.errors import GailfeError
from gailfe_jax.io.json_text import parse_json

LAYOUT = "HDF5 with data/demo_0/ and so on, each with actions, obs/... and perhaps next_obs/..., rewards, dones"


def recognises(source: str) -> bool:
    """Whether a file is HDF5 with a group of demonstrations."""
    if not has_magic(source):
        return False
    with open_tree(source) as tree:
        return any(name.startswith("data/demo") for name in tree.groups)


def read(source: str, request: Request) -> Recording:
    """The demonstrations of a file, in the order of their numbers. Their simulator states are another simulator's.

    Raises:
      GailfeError: see `one_episode` and `Tree`.
    """
    notes: list[str] = []
    with open_tree(source) as tree:
        demos = natural(name for name in tree.groups if name.startswith("data/demo") and name.count("/") == 1)
        if not demos:
            raise GailfeError(f"{source}: field 'data': no demo_0, demo_1, ... in it; expected {LAYOUT}")
        episodes = []
        for name in demos:
            told: list[str] = []
            episodes.append(one_episode(tree.columns(f"{name}/"), request, told, name.partition("/")[2]))
            notes = notes or told
        return Recording(source, "robomimic", episodes, env_id=_env_name(tree.text("data", "env_args")), notes=notes)


def _env_name(env_args: str | None) -> str | None:
    try:
        found = parse_json(env_args or "null", nonfinite=True)
    except GailfeError:
        return None
    name = found.get("env_name") if isinstance(found, dict) else None
    return name if isinstance(name, str) and name else None
