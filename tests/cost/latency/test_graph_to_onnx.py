"""Graphs as models: they run, and are the operators that PyTorch's own export has."""

from dataclasses import replace
from importlib.util import find_spec

import numpy as np
import onnx
import pytest

import autobuild as ab
from autobuild.cost.latency import Operators, onnx_of, to_onnx
from autobuild.cost.latency.runtimes import session_call
from autobuild.errors import CostError
from autobuild.graphs.from_onnx import from_onnx
from autobuild.graphs.zoo import load_zoo


@pytest.mark.parametrize("name", ["tiny_mbconv", "nas_bench_macro", "mnasnet"])
def test_a_spaces_graph_is_the_exported_network(name):
    space = ab.space(name)
    for arch in space.sample(2, seed=1):
        graph = ab.graph_of(space, arch)
        shape = graph.nodes[0].output_shape
        classes = graph.nodes[-1].output_shape[-1]
        exported = Operators(to_onnx(space.realise(arch, num_classes=classes), shape))
        written = Operators(onnx_of(graph))
        assert written.types() == exported.types()
        fragments = [{network.fragment([number]).key for number in range(len(network))}
                     for network in (written, exported)]  # fmt: skip
        assert fragments[0] == fragments[1]


@pytest.mark.parametrize("name", ["resnet18", "squeezenet1_1", "shufflenet_v2_x1_0", "densenet121",
                                  "timm/vit_tiny_patch16_224"])  # fmt: skip
def test_networks_of_the_zoo_run_and_read_back_alike(name, tmp_path):
    if not all(find_spec(package) for package in ("torchvision", "timm")):
        pytest.skip("torchvision and timm are not installed")
    graph = ab.graph_of(load_zoo(name), (1, 3, 224, 224))
    model = onnx_of(graph)
    onnx.checker.check_model(model, full_check=True)
    session_call(model.SerializeToString(), {model.graph.input[0].name: (1, 3, 224, 224)})()
    onnx.save(model, str(tmp_path / "net.onnx"))
    read = from_onnx(tmp_path / "net.onnx")
    assert read.macs == graph.macs
    assert read.nodes[-1].output_shape == graph.nodes[-1].output_shape


def test_an_operation_without_a_rule_is_refused_by_name():
    space = ab.space("tiny_mbconv")
    graph = ab.graph_of(space, space.example)
    nodes = list(graph.nodes)
    nodes[3] = replace(nodes[3], type="other", op="custom.operator", macs=None)
    with pytest.raises(CostError, match=r"operation '.*' \(custom.operator\): there is no rule") as raised:
        onnx_of(replace(graph, nodes=tuple(nodes)))
    assert raised.value.reason == "unknown"


def test_weights_are_finite_and_the_same_each_time():
    space = ab.space("tiny_mbconv")
    models = [onnx_of(ab.graph_of(space, space.example)) for _ in range(2)]
    assert models[0].SerializeToString() == models[1].SerializeToString()
    for tensor in models[0].graph.initializer:
        assert np.isfinite(onnx.numpy_helper.to_array(tensor)).all()
