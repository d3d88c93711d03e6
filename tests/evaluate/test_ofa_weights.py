"""A supernet's weights for its subnets: outputs equal those of the supernet with that sub-network active."""

import numpy as np
import pytest
import torch
from ofa_reference import FAMILIES, active_forward, make_supernet, realise

import autobuild as ab
from autobuild.errors import ModelError
from autobuild.evaluate.ofa_weights import load_into, load_ofa_weights, read_checkpoint, subnet_weights

SUBNETS = 24
PICTURES = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(3))
STAGE = [{"expand": 3, "kernel": 3}, {"expand": 4, "kernel": 5}]
SPACES = {"mbv3": "ofa_mbv3", "proxyless": "ofa_proxyless"}


@pytest.fixture(scope="module", params=FAMILIES)
def family(request):
    return request.param


@pytest.fixture(scope="module")
def mbv3_state():
    return make_supernet(FAMILIES["mbv3"], seed=1)


def test_outputs_equal_those_of_the_active_subnetwork(family):
    shape = FAMILIES[family]
    state = make_supernet(shape, seed=0)
    space = ab.space(SPACES[family])
    archs = space.sample(SUBNETS, seed=0, design="depth")
    smallest, largest = (space.assemble([(unit.size - 1) * end for unit in space.units]) for end in (0, 1))
    outputs = []
    with torch.no_grad():
        for arch in [smallest, largest, *archs]:
            layers = space.layers(arch)
            wanted = active_forward(shape, state, layers, PICTURES)
            got = load_ofa_weights(realise(shape, layers), layers, state)(PICTURES)
            assert (got - wanted).abs().max() < 1e-5, arch
            outputs.append(wanted)
    spread = torch.stack(outputs).std(0).mean()
    assert spread > 0.01, "subnets that all answer alike would prove nothing"


def test_places_are_in_order_and_named_by_stage_and_layer(mbv3_state):
    weights = subnet_weights(mbv3_state, [STAGE] * 5)
    assert next(iter(weights)) == ("stem", 1, "first_conv.conv")
    assert list(weights)[-1] == ("head", 3, "classifier.linear")
    assert weights["stage1", 1, "inverted_bottleneck.conv"]["weight"].shape == (24, 8, 1, 1)
    assert weights["stage1", 2, "depth_conv.conv"]["weight"].shape == (64, 1, 5, 5)
    assert weights["stage2", 2, "depth_conv.se.fc.reduce"]["weight"].shape == (24, 96, 1, 1)
    assert weights["stage5", 2, "point_linear.bn"]["running_var"].shape == (48,)
    assert {stage for stage, _, _ in weights} == {"stem", "stage1", "stage2", "stage3", "stage4", "stage5", "head"}


def test_names_of_the_later_code_and_of_wrapped_networks_read_the_same(mbv3_state):
    later = {"module." + name.replace(".mobile_inverted_conv.", ".conv."): t for name, t in mbv3_state.items()}
    plain, other = (subnet_weights(state, [STAGE] * 5) for state in (mbv3_state, later))
    assert list(plain) == list(other)
    for place, fields in plain.items():
        assert all(torch.equal(tensor, other[place][field]) for field, tensor in fields.items())


def test_a_stage_without_weights_is_passed_over_and_depths_can_be_given(mbv3_state):
    layers = [[{"resolution": 224}], *[STAGE] * 5]
    assert list(subnet_weights(mbv3_state, layers)) == list(subnet_weights(mbv3_state, layers[1:], depths=[4] * 5))


@pytest.mark.parametrize("suffix", ["pth", "safetensors"])
def test_checkpoint_files(tmp_path, mbv3_state, suffix):
    path = tmp_path / f"supernet.{suffix}"
    if suffix == "pth":
        torch.save({"state_dict": mbv3_state, "epoch": 3}, path)
    else:
        pytest.importorskip("safetensors.torch").save_file(mbv3_state, str(path))
    read = read_checkpoint(path)
    assert read.keys() == mbv3_state.keys()
    assert all(torch.equal(read[name], tensor) for name, tensor in mbv3_state.items())
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(ModelError, match=r"supernet\..*not readable"):
        read_checkpoint(path)


def test_checkpoint_files_of_another_kind_are_refused(tmp_path):
    with pytest.raises(ModelError, match="no such checkpoint"):
        read_checkpoint(tmp_path / "none.pth")
    torch.save({"weights": [1, 2]}, tmp_path / "list.pth")
    with pytest.raises(ModelError, match="state dict"):
        read_checkpoint(tmp_path / "list.pth")
    torch.save({"state_dict": np.random.RandomState}, tmp_path / "class.pth")
    with pytest.raises(ModelError, match="not readable"):
        read_checkpoint(tmp_path / "class.pth")


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        ([STAGE] * 4, "has 5 stages .* the subnet has 4"),
        ([STAGE] * 4 + [[STAGE[0]] * 5], "stage5 has 5 layers, the supernet 4"),
        ([[{"expand": 3, "kernel": 9}]] + [STAGE] * 4, "stage1, layer 1: kernel=9: .* kernels of 7, 5, 3"),
        ([[{"expand": 8, "kernel": 3}]] + [STAGE] * 4, r"stage1, layer 1: expand=8 needs 64 .* has 48 \(expand 6\)"),
    ],
)
def test_a_subnet_outside_the_supernet_is_refused(mbv3_state, layers, message):
    with pytest.raises(ModelError, match=message):
        subnet_weights(mbv3_state, layers)


def test_a_checkpoint_with_a_part_missing_or_of_another_network_is_refused(mbv3_state):
    for name in ("blocks.2.mobile_inverted_conv.point_linear.bn.bn", "classifier.linear", "first_conv.bn"):
        cut = {key: tensor for key, tensor in mbv3_state.items() if not key.startswith(name)}
        with pytest.raises(ModelError, match=name.split(".")[-1]):
            subnet_weights(cut, [STAGE] * 5)
    with pytest.raises(ModelError, match=r"no checkpoint of a Once-for-All .*'layer1.weight'"):
        subnet_weights({"layer1.weight": torch.zeros(1)}, [STAGE] * 5)


def test_a_network_that_differs_is_refused_and_left_as_it_is(mbv3_state):
    shape, layers = FAMILIES["mbv3"], [STAGE] * 5
    weights = subnet_weights(mbv3_state, layers)
    for network, message in (
        (realise(shape, [STAGE] * 4 + [STAGE[:1]]), "stage5, layer 2|head"),
        (
            realise(shape, [[STAGE[1], STAGE[1]]] + [STAGE] * 4),
            r"stage1, layer 1, inverted.* \(24, 8, 1, 1\).* \(32, 8",
        ),
        (realise(shape, layers, classes=7), r"classifier.linear has weight \(10, 72\).* takes weight \(7, 72\)"),
        (torch.nn.Sequential(*realise(shape, layers)[:-1]), "network"),
    ):
        before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
        with pytest.raises(ModelError, match=message):
            load_into(network, weights)
        assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())


def test_another_number_of_classes_keeps_its_own_classifier(mbv3_state):
    shape, layers = FAMILIES["mbv3"], [STAGE] * 5
    network = realise(shape, layers, classes=7)
    fresh = network[-1].weight.clone()
    load_ofa_weights(network, layers, mbv3_state, classifier=False)
    assert torch.equal(network[-1].weight, fresh)
    assert torch.equal(network[0].weight, mbv3_state["first_conv.conv.weight"])
    assert network(PICTURES).shape == (2, 7)


def test_layers_can_be_named_where_a_network_registers_them_in_another_order(mbv3_state):
    shape, layers = FAMILIES["mbv3"], [STAGE] * 5
    plain = load_ofa_weights(realise(shape, layers), layers, mbv3_state)
    weights = subnet_weights(mbv3_state, layers)
    leaves = [name for name, leaf in plain.named_modules() if next(leaf.parameters(recurse=False), None) is not None]
    names = dict(zip(weights, leaves, strict=True))
    backwards = torch.nn.Module()
    for number, part in reversed(list(realise(shape, layers).named_children())):
        backwards.add_module(number, part)
    with pytest.raises(ModelError, match="stem, layer 1"):
        load_into(backwards, weights)
    load_into(backwards, weights, names=names.__getitem__)
    assert all(torch.equal(tensor, backwards.state_dict()[name]) for name, tensor in plain.state_dict().items())
    with pytest.raises(ModelError, match="no layer 'elsewhere'"):
        load_into(backwards, weights, names=lambda place: "elsewhere")
