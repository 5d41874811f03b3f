"""A stored MLP: its input, its forward pass and its tensors, in plain NumPy.

Shapes: `i`, `j` sizes of a layer's input and output; leading batch dimensions are free.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import numpy as np

from gailfe_jax.errors import GailfeError
from gailfe_jax.nn.constants import OBS_CLIP

Layers = Sequence[tuple[np.ndarray, np.ndarray]]
"""`(kernel [i, j], bias [j])` of each layer."""

ACTIVATIONS: Mapping[str, Callable[[np.ndarray], np.ndarray]] = {"tanh": np.tanh, "relu": lambda x: np.maximum(x, 0.0)}


def normalise(x: np.ndarray, mean: np.ndarray, std: np.ndarray) -> np.ndarray:
    """`[..., i]` standardised and clipped to `OBS_CLIP`, as `RunningStats.normalise` does in training."""
    return np.clip((x - mean) / std, -OBS_CLIP, OBS_CLIP)


def forward(layers: Sequence[tuple[Any, Any]], x: Any, activation: Callable[[Any], Any]) -> Any:
    """The network's linear output `[..., j]` at `x [..., i]`; every layer but the last is followed by `activation`.

    It only multiplies and adds, so JAX arrays pass through it as well as NumPy's.
    """
    for kernel, bias in layers[:-1]:
        x = activation(x @ kernel + bias)
    kernel, bias = layers[-1]
    return x @ kernel + bias


def mlp_weights(params: Mapping[str, Any]) -> list[tuple[np.ndarray, np.ndarray]]:
    """The layers of a flax MLP's parameters `{"Dense_0": {"kernel", "bias"}, ...}`.

    Raises:
      GailfeError: the entries are not `Dense_0`, `Dense_1`, ...
    """
    names = [f"Dense_{index}" for index in range(len(params))]
    if set(names) != set(params):
        raise GailfeError(f"params: expected entries {', '.join(names)}, got {', '.join(sorted(params))}")
    return [(np.asarray(params[name]["kernel"]), np.asarray(params[name]["bias"])) for name in names]


def layer_tensors(layers: Layers) -> dict[str, np.ndarray]:
    """The layers as named tensors of a file."""
    tensors = {}
    for index, (kernel, bias) in enumerate(layers):
        tensors |= {f"kernel_{index}": kernel, f"bias_{index}": bias}
    return tensors


def pop_layers(tensors: dict[str, np.ndarray], unbounded: Collection[str] = ()) -> list[tuple[np.ndarray, np.ndarray]]:
    """Takes the layers out of a file's `tensors`, of which those called in `unbounded` may hold infinities.

    Raises:
      GailfeError: one is missing, has another shape than its neighbours imply, or any tensor is not of finite floats.
    """
    for name, array in tensors.items():
        if array.dtype.kind != "f":
            raise GailfeError(f"{name}: got {array.dtype}; expected floats")
        if np.isnan(array).any() or (name not in unbounded and not np.isfinite(array).all()):
            raise GailfeError(f"{name}: expected finite numbers, got nan or infinity")
    count = sum(name.startswith("kernel_") for name in tensors)
    names = [name for index in range(count) for name in (f"kernel_{index}", f"bias_{index}")]
    for name in names:
        if name not in tensors:
            raise GailfeError(f"{name}: missing; expected a kernel and a bias of each layer")
    layers = [(tensors.pop(kernel), tensors.pop(bias)) for kernel, bias in zip(names[::2], names[1::2], strict=True)]
    check_layers(layers)
    return layers


def check_layers(layers: Layers) -> None:
    """Holds that the layers of a network follow one another.

    Raises:
      GailfeError: names the first that does not.
    """
    if not layers:
        raise GailfeError("layers: got none; expected at least one")
    rows = None
    for index, (kernel, bias) in enumerate(layers):
        if kernel.ndim != 2 or 0 in kernel.shape or (rows is not None and len(kernel) != rows):
            wanted = "[i, j], none of them 0" if rows is None else f"[{rows}, j]"
            raise GailfeError(f"layer {index}: kernel has shape {list(kernel.shape)}; expected {wanted}")
        rows = kernel.shape[1]
        if bias.shape != (rows,):
            raise GailfeError(f"layer {index}: bias has shape {list(bias.shape)}; expected [{rows}]")
