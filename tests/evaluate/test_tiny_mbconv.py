from __future__ import annotations

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

import autobuild as ab
from autobuild.cost import count_macs, count_params
from autobuild.cost.latency.runtimes import fold_batch_norms
from autobuild.errors import CostError, EvaluationError, SpaceError
from autobuild.evaluate import DigitTask, TrainingEvaluator, evaluator_for, measure_latency

SHORT = TrainingEvaluator(task=DigitTask(n_train=320, n_test=250), epochs=1)
SMALL, LARGE = "e1k1s0|e1k1s0|e1k1s0", "|".join(["e3k5s1-e3k5s1-e3k5s1"] * 3)


@pytest.fixture(scope="module")
def tiny():
    return ab.space("tiny_mbconv")


@pytest.fixture(scope="module")
def archs(tiny):
    return [tiny.parse(SMALL), tiny.parse(LARGE), *tiny.sample(6, seed=1, design="depth")]


# --- the space --------------------------------------------------------------------------------------------------------


def test_size(tiny):
    assert tiny.size == (18 + 18**2 + 18**3) ** 3 == 235_342_236_024


def test_every_architecture_maps_pictures_to_logits(tiny, archs):
    for arch in archs:
        for shape, channels, classes in ((20, 1, 10), (33, 3, 7)):
            net = tiny.realise(arch, num_classes=classes, in_channels=channels).eval()
            assert net(torch.zeros(2, channels, shape, shape)).shape == (2, classes)


def test_every_feature_value_changes_the_network(tiny):
    base = tiny.realise("e2k3s0|e2k3s0|e2k3s0")
    for changed in (
        "e3k3s0|e2k3s0|e2k3s0",
        "e2k5s0|e2k3s0|e2k3s0",
        "e2k3s1|e2k3s0|e2k3s0",
        "e2k3s0|e2k3s0-e1k1s0|e2k3s0",
    ):
        assert count_params(tiny.realise(changed)) > count_params(base)
    assert count_params(tiny.realise("e2k1s0|e2k3s0|e2k3s0")) < count_params(base)


def test_a_narrowed_space_builds_the_same_networks(tiny):
    import numpy as np

    small = tiny.restrict({"stage1": np.arange(5)})
    arch = small.sample(1, seed=0)[0]
    assert count_params(small.realise(arch)) == count_params(tiny.realise(str(arch)))


# --- counts -----------------------------------------------------------------------------------------------------------


def test_counts_of_the_smallest_network_by_hand(tiny):
    net = tiny.realise(SMALL)
    stem = 100 * 12 * 9
    stage1 = 100 * 12 + 100 * 12 * 12  # depthwise 1 x 1, projection, at 10 x 10
    stage2 = 25 * 12 + 25 * 12 * 20
    stage3 = 9 * 20 + 9 * 20 * 32
    assert count_macs(net, (1, 20, 20)) == stem + stage1 + stage2 + stage3 + 32 * 10
    norms = 2 * (12 + 12 + 12 + 12 + 20 + 20 + 32)
    weights = 12 * 9 + (12 + 12 * 12) + (12 + 12 * 20) + (20 + 20 * 32)
    assert count_params(net) == weights + norms + 32 * 10 + 10


def test_macs_agree_with_torchs_own_counter(tiny, archs):
    for arch in archs:
        net = tiny.realise(arch).eval()
        with FlopCounterMode(display=False) as counter:
            net(torch.zeros(1, 1, 20, 20))
        assert count_macs(net, (1, 20, 20)) == counter.get_total_flops() // 2


def test_macs_of_other_layers():
    from torch import nn

    shared = nn.Linear(5, 5)
    assert count_macs(nn.Sequential(shared, nn.ReLU(), shared), (5,)) == 50  # called twice
    assert count_macs(nn.Linear(5, 3), (4, 5)) == 60  # for every row
    assert count_macs(nn.ConvTranspose2d(4, 6, 3, stride=2, groups=2), (4, 5, 5)) == 25 * 4 * 3 * 9
    assert count_macs(nn.Conv1d(2, 3, 5, bias=True), (2, 9)) == 5 * 3 * 2 * 5


def test_counting_leaves_the_network_alone(tiny):
    net = tiny.realise(SMALL).train()
    count_macs(net, (1, 20, 20))
    assert net.training
    assert next(net.parameters()).device.type == "cpu"
    assert not any(module._forward_hooks for module in net.modules())


def test_counting_with_the_wrong_shape(tiny):
    with pytest.raises(CostError, match=r"inputs of shape \(3, 20, 20\)"):
        count_macs(tiny.realise(SMALL), (3, 20, 20))


# --- training ---------------------------------------------------------------------------------------------------------


def test_a_training_is_repeatable_and_leaves_torch_alone(tiny):
    arch = "e2k3s1|e1k3s0|e1k5s0"
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    threads = torch.get_num_threads()
    one, two = SHORT(tiny, arch, 0), SHORT(tiny, tiny.parse(arch), 0)
    assert torch.equal(torch.rand(3), expected)
    assert torch.get_num_threads() == threads
    assert one.keys() == {"acc", "params", "macs", "train_seconds"}
    assert one["acc"] == two["acc"]
    assert 0 < one["train_seconds"] < 60
    first, other = (next(SHORT.network(tiny, arch, seed).parameters()) for seed in (0, 1))
    assert not torch.equal(first, other)


def test_training_learns(tiny):
    easy = DigitTask(n_train=1600, n_test=500, noise=0.0, clutter=0, rotation=5.0, shear=0.0)
    acc = TrainingEvaluator(task=easy, epochs=2)(tiny, "e2k3s0|e2k3s0|e2k3s0", 0)["acc"]
    assert acc > 30  # guessing gives 10


def test_training_failures_name_the_architecture(tiny):
    wild = TrainingEvaluator(task=SHORT.task, epochs=1, learning_rate=1e38)
    with pytest.raises(EvaluationError, match=r"e1k1s0\|e1k1s0\|e1k1s0, seed 4: the loss is not finite"):
        wild(tiny, SMALL, 4)
    with pytest.raises(EvaluationError, match="exceeds the 320 training pictures"):
        TrainingEvaluator(task=SHORT.task, batch_size=400)(tiny, SMALL, 0)
    with pytest.raises(EvaluationError, match="cannot be trained"):
        SHORT(tiny, "e9k1s0|e1k1s0|e1k1s0", 0)
    graphs = ab.sequence_space("graphs_only", {"a": 1}, {"kernel": [3, 5]})
    with pytest.raises(EvaluationError, match="builds no networks"):
        SHORT(graphs, graphs.sample(1)[0], 0)


def test_evaluator_for(tiny):
    import numpy as np

    assert evaluator_for(tiny) == TrainingEvaluator()
    assert evaluator_for(tiny.restrict({"stage1": np.arange(5)})) == TrainingEvaluator()
    with pytest.raises(EvaluationError, match=r"spaces that have one: .*tiny_mbconv"):
        evaluator_for(ab.space("ofa_mbv3"))


def test_the_declared_input_is_the_tasks():
    from autobuild.spaces.registry import declaration

    assert TrainingEvaluator().input_shape == declaration("tiny_mbconv").INPUT_SHAPE


# --- latency ----------------------------------------------------------------------------------------------------------


def test_folding_keeps_the_function(tiny, archs):
    for arch in archs[:4]:
        net = tiny.realise(arch).train()
        for _ in range(3):  # give the norms statistics that are not the initial ones
            net(torch.randn(16, 1, 20, 20))
        net.eval()
        x = torch.randn(4, 1, 20, 20)
        before = net(x)
        folded = fold_batch_norms(net)
        assert not any(isinstance(m, torch.nn.BatchNorm2d) for m in folded.modules())
        torch.testing.assert_close(folded(x), before, rtol=1e-4, atol=1e-5)


def test_latency_tells_a_large_network_from_a_small_one(tiny):
    small, large = tiny.realise(SMALL).train(), tiny.realise(LARGE)
    fast = measure_latency(small, (1, 20, 20), repeats=15)
    slow = measure_latency(large, (1, 20, 20), repeats=15)
    assert 0 < fast["latency_ms_q10"] <= fast["latency_ms"] <= fast["latency_ms_q90"]
    assert slow["latency_ms"] > 3 * fast["latency_ms"]
    assert small.training  # as it was
    assert any(isinstance(m, torch.nn.BatchNorm2d) for m in small.modules())


def test_latency_refuses_nonsense(tiny):
    with pytest.raises(EvaluationError, match=r"inputs of shape \(2, 20, 20\)"):
        measure_latency(tiny.realise(SMALL), (2, 20, 20))
    with pytest.raises(EvaluationError, match="repeats=0"):
        measure_latency(tiny.realise(SMALL), (1, 20, 20), repeats=0)


def test_unknown_architectures_do_not_build(tiny):
    with pytest.raises(SpaceError):
        tiny.realise("e1k1s0|e1k1s0")
