"""Fragments compute what the network computes there, and their keys mean the same operators."""

import itertools

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper
from torch import nn

from autobuild.cost.latency import Operators, to_onnx
from autobuild.cost.latency.kernel_grouping import group
from autobuild.errors import CostError


def run(model, feeds):
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    names = [value.name for value in session.get_outputs()]
    return dict(zip(names, session.run(names, feeds), strict=True))


@pytest.mark.parametrize("size", [1, 3, 7])
def test_fragments_in_order_compute_the_network(cells, tiny, size):
    for network in (cells[1], tiny[2]):
        name = network.model.graph.input[0].name
        x = np.random.default_rng(0).standard_normal(network.shapes[name]).astype(np.float32)
        whole = run(network.model.SerializeToString(), {name: x})
        tensors = {name: x}
        for numbers in (
            itertools.batched(range(len(network)), size)
            if hasattr(itertools, "batched")
            else _parts(len(network), size)
        ):
            # everything inside is handed out, for readers of later fragments
            fragment = network.fragment(numbers, expose=numbers)
            assert set(fragment.inputs) <= set(tensors)
            tensors |= run(fragment.model, {key: tensors[key] for key in fragment.inputs})
        for key, value in whole.items():
            np.testing.assert_allclose(tensors[key], value, rtol=1e-3, atol=1e-5)


def _parts(n, size):
    return [range(start, min(start + size, n)) for start in range(0, n, size)]


def net(width=8, stride=1):
    return nn.Sequential(nn.Conv2d(3, width, 3, stride, 1), nn.BatchNorm2d(width), nn.ReLU(), nn.Conv2d(width, 4, 1))


def test_keys_are_those_of_shapes_and_attributes_not_of_weights():
    torch.manual_seed(0)
    one, other = (Operators(to_onnx(net(), (1, 3, 8, 8))) for _ in range(2))
    assert one.key == other.key
    keys = {Operators(to_onnx(made, shape)).key for made, shape in [
        (net(), (1, 3, 8, 8)), (net(16), (1, 3, 8, 8)), (net(8, 2), (1, 3, 8, 8)), (net(), (1, 3, 9, 9)),
        (net(), (2, 3, 8, 8)),
    ]}  # fmt: skip
    assert len(keys) == 5
    assert one.types() == {"Conv": 2, "Relu": 1}  # batch norm folded
    assert one.fragment([1]).text == "Relu 1x8x8x8 -> 1x8x8x8"


def test_what_is_handed_out_counts():
    network = Operators(to_onnx(net(), (1, 3, 8, 8)))
    assert len({network.fragment([0, 1]).key, network.fragment([0, 1], expose=[0]).key, network.fragment([0]).key}) == 3


def test_wiring_counts():
    def model(second):
        nodes = [helper.make_node("Relu", ["x"], ["a"]), helper.make_node("Sigmoid", ["x"], ["b"]),
                 helper.make_node("Sub", ["a", second], ["y"])]  # fmt: skip
        return made(nodes)

    assert Operators(model("b")).key != Operators(model("a")).key


def made(nodes, shape=(1, 4), out=(1, 4)):
    value = helper.make_tensor_value_info
    graph = helper.make_graph(nodes, "made", [value("x", TensorProto.FLOAT, shape)],
                              [value("y", TensorProto.FLOAT, out)])  # fmt: skip
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)


def test_what_cannot_be_timed_is_refused_by_name(tmp_path):
    with pytest.raises(CostError, match=r"shape of 'y', written by 'act' \(Relu\), is not known"):
        Operators(made([helper.make_node("Relu", ["x"], ["y"], name="act")], ("batch", 4), ("batch", 4)))
    (tmp_path / "broken.onnx").write_bytes(b"no model")
    with pytest.raises(CostError, match=r"broken\.onnx: not a readable ONNX model"):
        Operators(tmp_path / "broken.onnx")


def test_a_file_is_the_model(tmp_path):
    model = to_onnx(net(), (1, 3, 8, 8))
    onnx.save(model, str(tmp_path / "net.onnx"))
    assert Operators(tmp_path / "net.onnx").key == Operators(model).key


def test_groups_hold_every_operator_once_in_an_order_that_can_be_computed(cells, tiny):
    rules = {"Conv+Relu", "Conv+Add", "Conv+Add+Relu", "Add+Relu", "Conv+HardSwish", "Add+Add"}
    for network in [*cells, *tiny]:
        for own in (set(), rules):
            kernels = group(network, own)
            assert sorted(number for members in kernels.groups for number in members) == list(range(len(network)))
            for kernel, sources in enumerate(kernels.sources):
                assert all(source < kernel for source in sources)
                assert len(kernels.groups[kernel]) == 1 or kernels.pattern(kernel) in own
            for members in kernels.groups:
                for before, behind in itertools.pairwise(members):
                    assert network.readers[before] == (behind,)


def test_in_chains_a_sum_begins_a_kernel(cells):
    rules = {"Conv+Relu", "Conv+Add", "Conv+Add+Relu", "Add+Relu"}
    merged = 0
    for network in cells:
        for members in group(network, rules, chains=True).groups:
            assert all(len(network.sources[number]) == 1 for number in members[1:])
        merged += sum(len(members) > 1 for members in group(network, rules, chains=True).groups)
    assert merged


def test_surroundings_are_what_feeds_a_kernel_and_reads_beside_it(cells):
    network = cells[0]
    kernels = group(network)
    types = [network.type(members[0]) for members in kernels.groups]
    for kernel in range(len(kernels)):
        around = {kernels.of[number] for number in kernels.surroundings(kernel)}
        assert set(kernels.sources[kernel]) <= around
        assert all(one < kernel for one in around)
        assert not kernels.surroundings(kernel, 0)
        for one in around:
            feeds = {reader for k in {*around, kernel} for reader in kernels.readers[one] if reader == k}
            beside = any(source in around for source in kernels.sources[one])
            assert feeds or beside
        if types[kernel] == "Conv" and kernels.sources[kernel] and types[kernels.sources[kernel][0]] == "Relu":
            relu = kernels.sources[kernel][0]
            assert set(kernels.sources[relu]) <= around  # an activation is a part of what is behind it
