"""A `jax.export` file: StableHLO in single precision for CPU, CUDA and TPU, for any number of observations at once."""

from __future__ import annotations

import json
import pathlib
from collections.abc import Mapping
from typing import Any

from gailfe_jax.artifacts.policy import Policy
from gailfe_jax.export.checking import require_packages, run_python, runtime_file
from gailfe_jax.nn.constants import OBS_CLIP

CHECK = "python check.py"
PLATFORMS = ("cpu", "cuda", "tpu")


def require() -> None:
    """Raises GailfeError where flatbuffers, with which JAX writes the file, is missing."""
    require_packages("jax", ["flatbuffers"])


def files(policy: Policy, contract: Mapping[str, Any]) -> dict[str, bytes]:
    """`policy.jax`, what `jax.export` serialises; `contract.json`; `check.py`."""
    return {
        "policy.jax": bytes(to_exported(policy).serialize()),
        "contract.json": (json.dumps(contract, indent=1) + "\n").encode(),
        "check.py": runtime_file("jax_check.py"),
    }


def check(folder: pathlib.Path) -> str:
    """Runs `check.py`; see `gailfe_jax.export.registry`."""
    return run_python("check.py", folder)


def to_exported(policy: Policy) -> Any:
    """The deterministic policy as a `jax.export.Exported`: `obs [n, o]` float32 to `action [n, a]` float32, or `[n]`
    int32 choices.

    Where an observation is not finite, the action is nan, and the choice -1.
    """
    import jax
    import jax.numpy as jnp
    from jax import export

    activation = {"tanh": jnp.tanh, "relu": jax.nn.relu}[policy.activation]
    layers = [(jnp.asarray(kernel), jnp.asarray(bias)) for kernel, bias in policy.deterministic_layers]
    mean, std, low, high = (
        jnp.asarray(x) for x in (policy.obs_mean, policy.obs_std, policy.action_low, policy.action_high)
    )
    components, size = policy.components, policy.action_size

    def product(x: Any, layer: tuple[Any, Any]) -> Any:
        # On GPU and TPU other precisions would round the factors.
        return jnp.matmul(x, layer[0], precision=jax.lax.Precision.HIGHEST) + layer[1]

    def act(obs: Any) -> Any:
        x = jnp.clip((obs - mean) / std, -OBS_CLIP, OBS_CLIP)
        for layer in layers[:-1]:
            x = activation(product(x, layer))
        x = product(x, layers[-1])
        finite = jnp.isfinite(obs).all(axis=-1)
        if policy.discrete:
            return jnp.where(finite, jnp.argmax(x, axis=-1).astype(jnp.int32), -1)
        if components > 1:
            means, logits = jnp.split(x, [components * size], axis=-1)
            means = means.reshape(*means.shape[:-1], components, size)
            choice = jnp.argmax(logits, axis=-1)
            x = jnp.take_along_axis(means, choice[..., None, None], axis=-2)[..., 0, :]
        if policy.squashed:
            x = 0.5 * (low + high) + 0.5 * (high - low) * jnp.tanh(x)
        return jnp.where(finite[..., None], jnp.clip(x, low, high), jnp.nan)

    (n,) = export.symbolic_shape("n")
    shape = jax.ShapeDtypeStruct((n, policy.obs_size), jnp.float32)
    return export.export(jax.jit(act), platforms=PLATFORMS)(shape)
