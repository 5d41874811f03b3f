"""This package beside its peers: `imitation`'s GAIL, Stable-Baselines3's PPO and SAC, in turn in one run.

    python -m benchmarks.peers --out benchmarks/results/peers.json
    python -m benchmarks.peers --replay --out benchmarks/results/peers_replay.json
    python -m benchmarks.peers --learning --out benchmarks/results/peers_learning.json

The peers need older libraries than this package, so they run as scripts (`scripts/`) in a virtual environment of their
own, which is made where it is missing.
"""

from __future__ import annotations

from gailfe_jax.bench.registry import Benchmark

PEERS = {
    "peers": Benchmark("benchmarks.peers.speed", "Steps/s of training beside both peers."),
    "peers_replay": Benchmark("benchmarks.peers.replay", "Steps/s of SAC beside Stable-Baselines3's."),
    "peers_learning": Benchmark("benchmarks.peers.learning", "Time until GAIL has learned, imitation's and ours."),
}
"""As in `gailfe_jax.bench.registry`."""
