from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from benchmarks.fuzz.raw import changed
from gailfe_jax.artifacts.policy import Policy
from gailfe_jax.errors import GailfeError
from gailfe_jax.export.onnx import to_onnx
from gailfe_jax.foreign.onnx import read_onnx
from gailfe_jax.foreign.registry import read_expert
from tests.foreign.mutations import refuses
from tests.foreign.specs import CHOICES, LIFT


def policy(outputs, log_std):
    rng = np.random.default_rng(0)
    layers = [(rng.normal(size=(3, 8)), rng.normal(size=8)), (rng.normal(size=(8, outputs)), np.zeros(outputs))]
    low, high = (0, 1) if log_std is None else (LIFT.action_low, LIFT.action_high)
    return Policy(layers, "tanh", np.zeros(3), np.ones(3), log_std, low, high)


GAUSSIAN, MIXTURE = policy(2, np.zeros(2)), policy(9, np.zeros((3, 2)))
CHOOSING = policy(3, None)


def saved(model, tmp_path):
    path = tmp_path / "policy.onnx"
    path.write_bytes(model.SerializeToString())
    return path


@pytest.mark.parametrize(("ours", "spec"), [(GAUSSIAN, LIFT), (MIXTURE, LIFT), (CHOOSING, CHOICES)])
def test_what_is_exported_is_read_again(ours, spec, tmp_path):
    found = read_expert(saved(to_onnx(ours), tmp_path), spec)
    obs = np.random.default_rng(1).normal(size=(4, 50, 3))
    np.testing.assert_allclose(found.act(obs), ours.act(obs), atol=1e-6)
    np.testing.assert_allclose(found.act_rows(obs), ours.act_rows(obs), atol=1e-6)
    assert found.act(obs[0, 0]).shape == ours.act(obs[0, 0]).shape
    assert found.act(np.zeros((0, 3))).shape == ours.act(np.zeros((0, 3))).shape


def network(nodes, arrays=(), inputs=(("x", TensorProto.FLOAT, ["batch", 3]),), outputs=("y",), **options):
    """A small model of nodes `(operator, inputs, outputs, attributes)`."""
    made = [
        helper.make_node(kind, given, out, domain=attributes.pop("domain", ""), **attributes)
        for kind, given, out, attributes in ((k, i, o, dict(a)) for k, i, o, a in nodes)
    ]
    graph = helper.make_graph(
        made,
        "g",
        [helper.make_tensor_value_info(*entry) for entry in inputs],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs],
        [numpy_helper.from_array(np.asarray(array), name) for name, array in arrays],
    )
    imports = [helper.make_opsetid("", 17), *options.pop("imports", [])]
    return helper.make_model(graph, opset_imports=imports, ir_version=8, **options)


W = np.arange(6, dtype=np.float32).reshape(3, 2) / 10


def test_a_strangers_network_of_one_observation_in_double_is_read(tmp_path):
    # As many exporters write it: another name, a fixed batch of one, several outputs.
    nodes = [("MatMul", ["x", "w"], ["h"], {}), ("Tanh", ["h"], ["actions"], {}), ("Abs", ["h"], ["value"], {})]
    model = network(nodes, [("w", W.astype(np.float64))], [("x", TensorProto.DOUBLE, [1, 3])], ["value", "actions"])
    for output in model.graph.output:
        output.type.tensor_type.elem_type = TensorProto.DOUBLE
    found = read_onnx(saved(model, tmp_path), LIFT)
    obs = np.random.default_rng(0).normal(size=(5, 3)).astype(np.float32)
    np.testing.assert_allclose(found.act(obs), np.clip(np.tanh(obs @ W), LIFT.action_low, LIFT.action_high), rtol=1e-6)


def external(model):
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    entry = tensor.external_data.add()
    entry.key, entry.value = "location", "/etc/passwd"


def huge(model):
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    del tensor.dims[:]
    tensor.dims.extend([2**20, 2**20])


def short(model):
    model.graph.initializer[0].raw_data = b"1234"


def strings(model):
    model.graph.initializer[0].CopyFrom(helper.make_tensor("w", TensorProto.STRING, [1], [b"a"]))


def function(model):
    made = helper.make_function("mine", "F", ["a"], ["b"], [helper.make_node("Tanh", ["a"], ["b"])], [])
    model.functions.append(made)


def sparse(model):
    array = model.graph.sparse_initializer.add()
    array.dims.extend([2**40])


def branch(model):
    inner = helper.make_graph([], "inner", [], [])
    node = helper.make_node("Tanh", ["x"], ["y"])
    node.attribute.append(helper.make_attribute("then_branch", inner))
    del model.graph.node[:]
    model.graph.node.append(node)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (external, "array 'w' is in another file; expected all in this one"),
        (huge, r"array 'w' has shape \[1048576, 1048576\]; expected at most 16777216 numbers"),
        (short, "array 'w' has 4 bytes; expected as many as its shape says"),
        (strings, "array 'w' is of type 8; expected floats"),
        (function, "has functions or training steps of its own"),
        (sparse, "sparse_initializer: expected dense arrays alone"),
        (branch, "operator Tanh holds a graph; expected one graph alone"),
    ],
)
def test_what_reaches_beyond_a_graph_is_refused(spoil, message, tmp_path):
    model = network([("MatMul", ["x", "w"], ["y"], {})], [("w", W)])
    read_onnx(saved(model, tmp_path), LIFT)
    spoil(model)
    refuse(model, message, tmp_path)


def refuse(model, message, tmp_path, spec=LIFT):
    path = saved(model, tmp_path) if isinstance(model, onnx.ModelProto) else tmp_path / "policy.onnx"
    if isinstance(model, bytes):
        path.write_bytes(model)
    with pytest.raises(GailfeError, match=message) as refused:
        read_onnx(path, spec)
    assert str(path) in str(refused.value) and "\n" not in str(refused.value)


DOUBLING = [("Identity", ["x"], ["a0"], {})] + [
    ("Concat", [f"a{i}", f"a{i}"], [f"a{i + 1}"], {"axis": 1}) for i in range(40)
]


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (None, "expected a readable ONNX file"),
        (b"nothing", "expected an ONNX file; this one is foreign or damaged"),
        (b"", "has 0 inputs and 0 outputs; expected one of observations"),
        (network([("Loop", ["x"], ["y"], {})]), "operator 'Loop'; expected those of multi-layer perceptrons"),
        (
            network([("MatMul", ["x", "w"], ["y"], {"domain": "com.evil"})], [("w", W)]),
            "operator 'com.evil.MatMul'; expected those of multi-layer perceptrons",
        ),
        (
            network([("Tanh", ["x"], ["y"], {})], imports=[helper.make_opsetid("com.evil", 1)]),
            "opset_import: 'com.evil'; expected ONNX's own operators alone",
        ),
        (network([*DOUBLING, ("Identity", ["a40"], ["y"], {})]), "Concat gives over 16777216 numbers; expected fewer"),
        (
            network(
                [("Expand", ["x", "s"], ["a0"], {}), *[("Tanh", ["a0"], [f"y{i}"], {}) for i in range(9)]],
                [("s", np.array([2**24 // 3, 3], np.int64))],
                outputs=["y0"],
            ),
            "Tanh gives over 67108864 numbers; expected fewer",
        ),
        (network([("Tanh", ["x"], ["y"], {})] * 2001), "has 2001 operations; expected at most 2000"),
        (
            network([("Tanh", ["x"], ["y"], {})], inputs=[("x", TensorProto.FLOAT, ["batch", 4])]),
            r"input 'x' has shape \[None, 4\]; expected floats \[batch, 3\] for lift",
        ),
        (
            network([("Tanh", ["x"], ["y"], {})], inputs=[("x", TensorProto.FLOAT, [8, 3])]),
            "input 'x' is for 8 observations; expected any number or 1",
        ),
        (
            network([("Add", ["x", "z"], ["y"], {})], inputs=[(n, TensorProto.FLOAT, ["batch", 3]) for n in "xz"]),
            "has 2 inputs and 1 outputs; expected one of observations",
        ),
        (network([("MatMul", ["x", "w"], ["y"], {})], [("w", W.T)]), "its shapes do not fit together"),
        (
            network([("Tanh", ["x"], ["y"], {})]),
            r"gives \[2, 3\] of float32 for observations \[2, 3\]; expected \[2, 2\]",
        ),
        (
            network([("MatMul", ["x", "w"], ["y"], {})], [("w", np.full((3, 2), np.nan, np.float32))]),
            "gives nan or infinity; expected finite",
        ),
    ],
)
def test_what_is_no_policy_of_the_environment_is_refused(model, message, tmp_path):
    refuse(model, message, tmp_path)


def test_choices_out_of_range_are_refused(tmp_path):
    nodes = [("ArgMax", ["x"], ["i"], {"axis": 1, "keepdims": 0}), ("Add", ["i", "one"], ["y"], {})]
    model = network(nodes, [("one", np.array([3], np.int64))])
    model.graph.output[0].type.tensor_type.elem_type = TensorProto.INT64
    refuse(model, "gives choice 3 to 3; expected 0 to 2", tmp_path, CHOICES)


def test_without_the_extra_a_line_says_what_to_install(tmp_path, monkeypatch):
    path = saved(to_onnx(GAUSSIAN), tmp_path)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(GailfeError, match=r"needs onnx, which is not installed; pip install 'gailfe-jax\[onnx\]'"):
        read_onnx(path, LIFT)


@pytest.mark.slow
@pytest.mark.parametrize(("ours", "spec"), [(MIXTURE, LIFT), (CHOOSING, CHOICES)])
def test_some_hundred_mutated_files_are_read_or_refused(ours, spec, tmp_path):
    rng = np.random.default_rng(0)
    whole = to_onnx(ours).SerializeToString()
    path, refused = tmp_path / "mutated.onnx", 0
    for _ in range(300):
        path.write_bytes(changed(whole, rng))
        refused += refuses(path, lambda: read_onnx(path, spec).act(np.zeros((5, 3))))
    assert refused > 100
