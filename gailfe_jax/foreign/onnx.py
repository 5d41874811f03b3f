"""Policies in ONNX files: checked before anything runs, then run by onnxruntime.

An ONNX graph is data, but a graph can ask for much memory, for other files, and for operators that are code of others.
So only operators that policies are made of are taken, and sizes are known before memory is.
"""

from __future__ import annotations

import importlib.util
import math
import pathlib
from collections.abc import Iterator
from typing import Any

import numpy as np

from gailfe_jax.artifacts.host_policy import HostPolicy
from gailfe_jax.errors import GailfeError, one_line
from gailfe_jax.io.digests import file_sha256
from gailfe_jax.io.limited import read_limited
from gailfe_jax.types import EnvSpec

_LARGEST_FILE = 256 * 2**20
_LARGEST_TENSOR = 2**24
"""Numbers in one array, stored or computed for one observation."""
_MOST_NUMBERS = 2**26
"""Numbers in all arrays that are computed for one observation."""
_MOST_NODES = 2000
_OPERATORS = frozenset(
    (
        "Abs", "Add", "And", "ArgMax", "BatchNormalization", "Cast", "Ceil", "Clip", "Concat", "Constant", "Cos", "Div",
        "Dropout", "Elu", "Equal", "Erf", "Exp", "Expand", "Flatten", "Floor", "Gather", "GatherElements", "GatherND",
        "Gelu", "Gemm", "Greater", "GreaterOrEqual", "HardSigmoid", "HardSwish", "Identity", "IsInf", "IsNaN",
        "LayerNormalization", "LeakyRelu", "Less", "LessOrEqual", "Log", "LogSoftmax", "MatMul", "Max", "Mean", "Min",
        "Mul", "Neg", "Not", "Or", "PRelu", "Pow", "Reciprocal", "ReduceL2", "ReduceMax", "ReduceMean", "ReduceMin",
        "ReduceSum", "Relu", "Reshape", "Round", "Selu", "Shape", "Sigmoid", "Sign", "Sin", "Slice", "Softmax",
        "Softplus", "Softsign", "Split", "Sqrt", "Squeeze", "Sub", "Sum", "Tan", "Tanh", "Transpose", "Unsqueeze",
        "Where",
    )
)  # fmt: skip
_SIZES = {1: 4, 10: 2, 11: 8, 16: 2, 2: 1, 3: 1, 4: 2, 5: 2, 6: 4, 7: 8, 9: 1, 12: 4, 13: 8}
"""Bytes of the element types that are taken: floats, whole numbers and truth values."""
_FLOATS = {1: np.float32, 11: np.float64}


def read_onnx(path: pathlib.Path, spec: EnvSpec) -> HostPolicy:
    """The policy in an ONNX file: one input of observations, `[batch, o]`; its output `action` or `actions`, else the
    first, is taken for the action, or where actions are choices for their numbers or scores.

    Args:
      path: the file.
      spec: the environment it is for.

    Raises:
      GailfeError: onnx is not installed, or the file is damaged, too large, made of something else than a policy is, or
        not for this environment.
    """
    where = str(path)
    for package in ("onnx", "onnxruntime"):
        if importlib.util.find_spec(package) is None:
            raise GailfeError(f"{where}: needs {package}, which is not installed; pip install 'gailfe-jax[onnx]'")
    content = read_limited(path, _LARGEST_FILE, "ONNX file")
    name, output, dtype, batched = _checked(content, spec, where)
    session = _session(content, where)

    def act(obs: np.ndarray) -> np.ndarray:
        obs = obs.astype(dtype)
        parts = [obs] if batched else [row[None] for row in obs]
        return np.concatenate([np.asarray(session.run([output], {name: part})[0]) for part in parts])

    low, high = (
        np.broadcast_to(np.asarray(bound, np.float32), (spec.action_size,))
        for bound in (spec.action_low, spec.action_high)
    )
    policy = HostPolicy(act, spec.obs_size, low, high, spec.discrete, where, file_sha256(path), {"algo": "onnx"})
    policy.act(np.zeros((2, spec.obs_size)))
    return policy


def _session(content: bytes, where: str) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    # Policies are small: more threads wait for each other, and would take the simulator's cores.
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4
    try:
        return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's own exceptions have no common class but this.
        raise GailfeError(f"{where}: onnxruntime does not load it ({one_line(error, first=True)[:200]})") from None


def _checked(content: bytes, spec: EnvSpec, where: str) -> tuple[str, str, Any, bool]:
    """The input's name, the output's, the input's type, and whether a batch may be of any size.

    Raises:
      GailfeError: see `read_onnx`.
    """
    import onnx
    from google.protobuf.message import DecodeError

    try:
        model = onnx.load_model_from_string(content)
    except (DecodeError, ValueError, TypeError) as error:
        raise GailfeError(
            f"{where}: expected an ONNX file; this one is foreign or damaged ({one_line(error)})"
        ) from None
    if len(model.functions) or len(model.training_info):
        raise GailfeError(f"{where}: has functions or training steps of its own; expected one graph")
    for opset in model.opset_import:
        if opset.domain not in ("", "ai.onnx"):
            raise GailfeError(f"{where}: opset_import: {opset.domain[:60]!r}; expected ONNX's own operators alone")
    graph = model.graph
    if len(graph.node) > _MOST_NODES:
        raise GailfeError(f"{where}: has {len(graph.node)} operations; expected at most {_MOST_NODES}")
    for node in graph.node:
        if node.domain not in ("", "ai.onnx") or node.op_type not in _OPERATORS:
            kind = f"{node.domain}.{node.op_type}".strip(".")[:60]
            raise GailfeError(f"{where}: operator {kind!r}; expected those of multi-layer perceptrons")
        for attribute in node.attribute:
            if (
                attribute.type in (attribute.GRAPH, attribute.GRAPHS)
                or attribute.HasField("g")
                or len(attribute.graphs)
            ):
                raise GailfeError(f"{where}: operator {node.op_type} holds a graph; expected one graph alone")
    for tensor in _tensors(graph):
        _check_tensor(tensor, where)
    if len(graph.sparse_initializer):
        raise GailfeError(f"{where}: sparse_initializer: expected dense arrays alone")
    stored = {tensor.name for tensor in graph.initializer}
    inputs = [entry for entry in graph.input if entry.name not in stored]
    if len(inputs) != 1 or not len(graph.output):
        raise GailfeError(
            f"{where}: has {len(inputs)} inputs and {len(graph.output)} outputs; expected one of observations"
        )
    held = inputs[0].type.tensor_type
    sizes = [dim.dim_value if dim.HasField("dim_value") else None for dim in held.shape.dim]
    if held.elem_type not in _FLOATS or len(sizes) != 2 or sizes[1] not in (None, spec.obs_size):
        raise GailfeError(
            f"{where}: input {inputs[0].name[:60]!r} has shape {sizes}; expected floats [batch, {spec.obs_size}] for "
            f"{spec.name}"
        )
    if sizes[0] not in (None, 1):
        raise GailfeError(
            f"{where}: input {inputs[0].name[:60]!r} is for {sizes[0]} observations; expected any number or 1"
        )
    _check_sizes(model, inputs[0], spec.obs_size, where)
    names = [entry.name for entry in graph.output]
    output = next((name for name in ("action", "actions") if name in names), names[0])
    return inputs[0].name, output, _FLOATS[held.elem_type], sizes[0] is None


def _tensors(graph: Any) -> Iterator[Any]:
    yield from graph.initializer
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("sparse_tensor") or len(attribute.sparse_tensors):
                yield None
            if attribute.HasField("t"):
                yield attribute.t
            yield from attribute.tensors


def _check_tensor(tensor: Any, where: str) -> None:
    if tensor is None:
        raise GailfeError(f"{where}: holds a sparse array; expected dense arrays alone")
    name = f"{where}: array {tensor.name[:60]!r}"
    if tensor.data_location == tensor.EXTERNAL or len(tensor.external_data):
        raise GailfeError(f"{name} is in another file; expected all in this one")
    if tensor.data_type not in _SIZES:
        raise GailfeError(f"{name} is of type {tensor.data_type}; expected floats, whole numbers or truth values")
    if any(n < 0 for n in tensor.dims) or math.prod(tensor.dims) > _LARGEST_TENSOR:
        raise GailfeError(f"{name} has shape {list(tensor.dims)[:8]}; expected at most {_LARGEST_TENSOR} numbers")
    if tensor.raw_data and len(tensor.raw_data) != math.prod(tensor.dims) * _SIZES[tensor.data_type]:
        raise GailfeError(f"{name} has {len(tensor.raw_data)} bytes; expected as many as its shape says")


def _check_sizes(model: Any, entry: Any, obs_size: int, where: str) -> None:
    """Holds that every array that is computed for one observation has a known and small size."""
    import onnx

    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    # What a file claims of its own arrays is not believed.
    del copy.graph.value_info[:]
    for given in copy.graph.input:
        if given.name == entry.name:
            for dim, size in zip(given.type.tensor_type.shape.dim, (1, obs_size), strict=True):
                dim.Clear()
                dim.dim_value = size
    for output in copy.graph.output:
        output.type.tensor_type.ClearField("shape")
    try:
        found = onnx.shape_inference.infer_shapes(copy, check_type=True, strict_mode=True, data_prop=True)
    except Exception as error:  # Errors of the checker, of inference and of protobuf.
        raise GailfeError(f"{where}: its shapes do not fit together ({one_line(error, first=True)[:200]})") from None
    known = {value.name: value.type.tensor_type for value in (*found.graph.value_info, *found.graph.output)}
    total = 0
    for node in found.graph.node:
        for name in filter(None, node.output):
            dims = known[name].shape.dim if name in known and known[name].HasField("shape") else None
            if dims is None or not all(dim.HasField("dim_value") for dim in dims):
                raise GailfeError(f"{where}: {node.op_type} gives {name[:60]!r} of unknown size; expected known sizes")
            size = math.prod(dim.dim_value for dim in dims)
            total += size
            if size > _LARGEST_TENSOR or total > _MOST_NUMBERS:
                most = _LARGEST_TENSOR if size > _LARGEST_TENSOR else _MOST_NUMBERS
                raise GailfeError(f"{where}: {node.op_type} gives over {most} numbers; expected fewer")
