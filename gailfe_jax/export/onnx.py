"""An ONNX graph in single precision, written node by node from the policy's own weights."""

from __future__ import annotations

import json
import pathlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from gailfe_jax.artifacts.policy import Policy
from gailfe_jax.export.checking import require_packages, run_python, runtime_file
from gailfe_jax.nn.constants import OBS_CLIP

CHECK = "python check.py"
_OPSET, _IR = 17, 8
"""Old enough for the runtimes of robots: ONNX 1.12, of 2022."""
_ACTIVATIONS = {"tanh": "Tanh", "relu": "Relu"}


def require() -> None:
    """Raises GailfeError where onnx or onnxruntime is missing."""
    require_packages("onnx", ["onnx", "onnxruntime"])


def files(policy: Policy, contract: Mapping[str, Any]) -> dict[str, bytes]:
    """`policy.onnx`, whose metadata hold the contract as JSON under `gailfe_jax`, and `check.py`."""
    model = to_onnx(policy)
    entry = model.metadata_props.add()
    entry.key, entry.value = "gailfe_jax", json.dumps(contract)
    return {"policy.onnx": model.SerializeToString(deterministic=True), "check.py": runtime_file("onnx_check.py")}


def check(folder: pathlib.Path) -> str:
    """Runs `check.py`; see `gailfe_jax.export.registry`."""
    return run_python("check.py", folder)


def to_onnx(policy: Policy) -> Any:
    """The deterministic policy as an `onnx.ModelProto`: `obs [batch, o]` float32 to `action [batch, a]` float32, or
    `[batch]` int64 choices.

    Where an observation is not finite, the action is nan, and the choice -1.
    """
    from onnx import TensorProto, checker, helper, numpy_helper

    graph = _Graph(numpy_helper, helper)
    size, components = policy.action_size, policy.components
    x = graph.node("Sub", "obs", graph.constant("obs_mean", policy.obs_mean))
    x = graph.node("Div", x, graph.constant("obs_std", policy.obs_std))
    limits = (graph.constant(f"{side}_clip", np.float32(sign * OBS_CLIP)) for side, sign in (("low", -1), ("high", 1)))
    x = graph.node("Clip", x, *limits)
    for i, (kernel, bias) in enumerate(policy.deterministic_layers):
        x = graph.node("Gemm", x, graph.constant(f"kernel_{i}", kernel), graph.constant(f"bias_{i}", bias))
        if i < len(policy.weights) - 1:
            x = graph.node(_ACTIVATIONS[policy.activation], x)
    # Zero, but nan where a number is not finite.
    nothing = graph.node("Sub", "obs", "obs")
    axis = graph.constant("last_axis", np.array([1], np.int64))
    wrong = graph.node("IsNaN", graph.node("ReduceSum", nothing, axis, keepdims=1))
    if policy.discrete:
        choice = graph.node("ArgMax", x, axis=1, keepdims=0)
        wrong = graph.node("Squeeze", wrong, axis)
        graph.node("Where", wrong, graph.constant("none", np.int64(-1)), choice, output="action")
        result = helper.make_tensor_value_info("action", TensorProto.INT64, ["batch"])
    else:
        if components > 1:
            sizes = graph.constant("split", np.array([components * size, components], np.int64))
            means, logits = graph.nodes("Split", 2, x, sizes, axis=1)
            means = graph.node("Reshape", means, graph.constant("means", np.array([-1, components, size], np.int64)))
            x = graph.node("GatherND", means, graph.node("ArgMax", logits, axis=1, keepdims=1), batch_dims=1)
        if policy.squashed:
            low, high = policy.action_low, policy.action_high
            x = graph.node("Mul", graph.node("Tanh", x), graph.constant("half", np.float32(0.5) * (high - low)))
            x = graph.node("Add", x, graph.constant("centre", np.float32(0.5) * (low + high)))
        x = graph.node("Min", x, graph.constant("action_high", policy.action_high))
        x = graph.node("Max", x, graph.constant("action_low", policy.action_low))
        graph.node("Where", wrong, graph.constant("nan", np.float32(np.nan)), x, output="action")
        result = helper.make_tensor_value_info("action", TensorProto.FLOAT, ["batch", size])
    model = helper.make_model(
        helper.make_graph(
            graph.made,
            "policy",
            [helper.make_tensor_value_info("obs", TensorProto.FLOAT, ["batch", policy.obs_size])],
            [result],
            graph.constants,
        ),
        producer_name="gailfe_jax",
        opset_imports=[helper.make_opsetid("", _OPSET)],
        ir_version=_IR,
    )
    checker.check_model(model, full_check=True)
    return model


class _Graph:
    """Nodes and constants, as they are added."""

    def __init__(self, numpy_helper: Any, helper: Any):
        self._numpy_helper, self._helper = numpy_helper, helper
        self.made: list[Any] = []
        self.constants: list[Any] = []

    def constant(self, name: str, value: Any) -> str:
        """Adds an array; returns its name."""
        self.constants.append(self._numpy_helper.from_array(np.asarray(value), name))
        return name

    def nodes(self, kind: str, outputs: int, *inputs: str, **attributes: Any) -> list[str]:
        """Adds an operation; returns the names of its outputs."""
        names = [f"{kind.lower()}_{len(self.made)}_{k}" for k in range(outputs)]
        self.made.append(self._helper.make_node(kind, list(inputs), names, **attributes))
        return names

    def node(self, kind: str, *inputs: str, output: str | None = None, **attributes: Any) -> str:
        """Adds an operation with one output; returns its name."""
        name = output or f"{kind.lower()}_{len(self.made)}"
        self.made.append(self._helper.make_node(kind, list(inputs), [name], **attributes))
        return name
