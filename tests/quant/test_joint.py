"""Architectures and bits as one space: exact sizes, its text, an optimum by brute force, and a real evaluation."""

import itertools
import pickle

import numpy as np
import pytest
import torch

import autobuild as ab
from autobuild.construct.problem import Problem
from autobuild.errors import ConfigError, EvaluationError, QuantisationError, SpaceError
from autobuild.evaluate import DigitTask, evaluator_for
from autobuild.evaluate.training import JointEvaluator
from autobuild.expressions import Names
from autobuild.quant import joint_config, quantised_network, weight_layers
from autobuild.quant.joint import nearest_fitting
from autobuild.quant.weights import Choice, stored_bits
from autobuild.spaces.additive import Additive

SIZES = ("size_bytes", "stored_bits", "avg_bits")


@pytest.fixture(scope="module")
def space():
    return ab.joint_space(ab.space("tiny_mbconv"), ("uaq3", "uaq8", "kmc3", "kmc8"))


@pytest.fixture(scope="module")
def small():
    """864 architectures: one layer a stage, with three widths and two choices, and the stem and the head."""
    whole = ab.joint_space(ab.space("tiny_mbconv"), ("uaq3", "uaq8"))
    return whole.restrict(kernel=3, se=0, depth=1)


def plain(arch):
    """Its text in the space of architectures."""
    return "|".join("-".join(layer.split(":")[0] for layer in unit.split("-")) for unit in str(arch).split("|")[1:-1])


def test_units_and_text(space):
    assert [unit.name for unit in space.units] == ["stem", "stage1", "stage2", "stage3", "head"]
    text = "kmc3|e1k3s0:uaq8|e2k5s1:kmc3-e1k1s0:uaq3|e3k3s1:kmc8|uaq8"
    arch = space.parse(text)
    assert space.format(arch) == text
    assert space.layers(arch)[2][1] == {"expand": 1, "kernel": 1, "se": 0, "method": "uaq", "bits": 3}
    assert space.from_params(space.params(arch)) == arch
    assert space.size == 4**2 * ((18 * 4) + (18 * 4) ** 2 + (18 * 4) ** 3) ** 3
    once = ab.joint_space(ab.space("tiny_mbconv"), ("uaq3", "uaq8"), grain="stage")
    assert once.size == 2**2 * (2 * (18 + 18**2 + 18**3)) ** 3
    with pytest.raises(SpaceError, match="bits is chosen once here"):
        once.parse("uaq3|e1k3s0:uaq8|e2k5s1:uaq8-e1k1s0:uaq3|e3k3s1:uaq3|uaq8")


@pytest.mark.parametrize("fold", [True, False])
def test_costs_are_those_of_the_quantised_network_and_its_file(space, fold, tmp_path):
    joint = ab.joint_space(ab.space("tiny_mbconv"), ("uaq3", "uaq8", "kmc3", "kmc8"), fold=fold)
    costs, base = ab.costs(joint), ab.costs(ab.space("tiny_mbconv"))
    for arch in joint.sample(4, seed=1):
        torch.manual_seed(0)
        quantised = quantised_network(joint, arch, joint.realise(arch))
        for name in SIZES:
            assert costs[name]([arch])[0] == getattr(quantised, name)
        assert costs["payload_bits"]([arch])[0] == sum(w.payload_bits for w in quantised.weights.values())
        for name in ("params", "macs"):
            assert costs[name]([arch])[0] == base[name]([plain(arch)])[0]
    quantised.save(tmp_path / "q.safetensors")
    file = (tmp_path / "q.safetensors").read_bytes()
    assert len(file) - 8 - int.from_bytes(file[:8], "little") == costs["size_bytes"]([arch])[0]
    assert set(SIZES) < set(costs)


@pytest.mark.parametrize("name", ["mnasnet", "nas_bench_macro", "ofa_proxyless"])
def test_other_spaces_count_their_networks(name):
    """Without values: bits of the weights of the network that is built."""
    joint = ab.joint_space(ab.space(name), ("kmc3", "kmc8"))
    (arch,) = joint.sample(1, seed=2)
    with torch.device("meta"):
        network = joint.realise(arch)
    config = joint_config(joint, arch, network)
    shapes = {name: layer.weight.shape for name, layer in weight_layers(network)[0].items()}
    assert set(config) == set(shapes)
    assert ab.costs(joint)["stored_bits"]([arch])[0] == sum(stored_bits(shapes[n], c) for n, c in config.items())
    assert ab.costs(joint)["weights"]([arch])[0] == sum(shape.numel() for shape in shapes.values())


def test_a_choice_that_does_not_fit_takes_the_next_method():
    for choice, shape, wanted in (
        ("uaq4", (8, 1, 3, 3), "uaq4"), ("uaq4", (8, 1, 1, 1), "uaqt4"), ("kmc4", (8, 1, 3, 3), "kma4"),
        ("kmc8", (8, 1, 3, 3), "uaqt8"), ("kma2", (2, 2), "uaqt2"),
    ):  # fmt: skip
        assert nearest_fitting(Choice.of(choice), shape) == Choice.of(wanted)
    assert nearest_fitting(Choice("uaq", 4), (2, 1)) is None


def test_stored_narrowed_and_pickled(space, small):
    arch = small.sample(1, seed=3)[0]
    for again in (ab.SearchSpace.from_json(small.to_json()), pickle.loads(pickle.dumps(small))):
        assert [ab.costs(again)[name]([arch])[0] for name in SIZES] == [
            ab.costs(small)[name]([arch])[0] for name in SIZES
        ]
        assert again.realise(arch.text)(torch.zeros(2, 1, 20, 20)).shape == (2, 10)
    named = ab.space("joint:tiny_mbconv(quant=['uaq3', 'uaq8'])")
    assert named.to_json() == ab.joint_space(ab.space("tiny_mbconv"), ("uaq3", "uaq8")).to_json()
    assert isinstance(evaluator_for(named), JointEvaluator)


def test_only_derived_spaces_of_families_with_an_evaluator_have_one():
    with pytest.raises(EvaluationError, match=r"'joint:mnasnet' has no evaluator .* joint:tiny_mbconv, tiny_mbconv"):
        evaluator_for(ab.joint_space(ab.space("mnasnet"), ("uaq4",)))


def test_one_budget_over_architecture_and_bits(small):
    """The best sum within a limit on bytes, and on average bits, against all 864 architectures."""
    rng = np.random.default_rng(0)
    costs = ab.costs(small)
    every = np.array(list(itertools.product(*(range(unit.size) for unit in small.units))))
    assert len(every) == small.size == 864
    archs = [small.assemble(tuple(row)) for row in every.tolist()]
    size, bits = costs["size_bytes"](archs), costs["avg_bits"](archs)
    tables = {name: costs.additive(name) for name in ("size_bytes", "payload_bits", "weights")}
    assert np.array_equal(tables["size_bytes"].totals(every), size)
    score = Additive(0.0, tuple(rng.normal(size=unit.size) + np.log(table) for unit, table in
                                zip(small.units, tables["size_bytes"].tables, strict=True)))  # fmt: skip
    value = score.totals(every)
    for where, allowed in (
        ("size_bytes <= 4000", size <= 4000),
        ("size_bytes <= 5000 and payload_bits <= 5 * weights", (size <= 5000) & (bits <= 5)),
    ):
        solution = Problem(score, tables).best(Names(costs=costs).limits(where))
        assert 0 < allowed.sum() < len(every)
        assert score.totals([solution.best])[0] == pytest.approx(value[allowed].max())
        assert allowed[every.tolist().index(list(solution.best))]


def test_built_within_bytes_then_trained_and_quantised(small):
    """Labels to a network that was really trained and quantised; its bytes are those that were promised."""
    import pandas as pd

    archs = ab.sample_design(small, 40, seed=0)
    acc = np.log(ab.costs(small)["size_bytes"](archs)) + 0.01 * ab.costs(small)["avg_bits"](archs)
    labels = ab.LabelledSet.read(pd.DataFrame({"arch": [arch.text for arch in archs], "acc": acc}), small)
    scores = ab.fit(labels, target="acc", model="linear", seed=0).explain()
    for where in ("size_bytes <= 4000", "avg_bits <= 4"):
        built = scores.build(top=2, where=where)
        name, _, bound = where.split()
        assert max(ab.costs(small)[name](list(built))) <= float(bound)
    evaluate = JointEvaluator(task=DigitTask(n_train=640, n_test=200), epochs=1)
    found = evaluate(small, built[0], 0)
    assert set(found) == set(evaluate.metrics)
    assert found["size_bytes"] == ab.costs(small)["size_bytes"]([built[0]])[0]
    assert found["avg_bits"] == ab.costs(small)["avg_bits"]([built[0]])[0] <= 4
    assert found["quant_error"] > 0
    base = ab.space("tiny_mbconv")
    assert found["acc_plain"] == evaluator_for(base).__class__(task=evaluate.task, epochs=1)(
        base, plain(built[0]), 0
    )["acc"]  # fmt: skip


def test_refused(small):
    tiny = ab.space("tiny_mbconv")
    with pytest.raises(ConfigError, match=r"quant=\['uaq3', 'kmc4'\]: accepted: choices such as 'uaq4', every method"):
        ab.joint_space(tiny, ("uaq3", "kmc4"))
    with pytest.raises(QuantisationError, match="bits=9"):
        ab.joint_space(tiny, ("uaq9",))
    with pytest.raises(ConfigError, match="grain='block'"):
        ab.joint_space(tiny, grain="block")
    for base, message in (
        (tiny.restrict(kernel=3), "takes whole spaces, not the narrowed or joined 'tiny_mbconv'"),
        (ab.space("nas_bench_201"), "its stages are no chain"),
        (ab.sequence_space("mine", {"a": 1}, {"k": [1, 3]}), "accepted: spaces that declare the blocks"),
        (small, "takes whole spaces"),
    ):
        with pytest.raises(SpaceError, match=message):
            ab.joint_space(base)
    (arch,) = small.sample(1, seed=1)
    with pytest.raises(SpaceError, match="'tiny_mbconv' is no joint space"):
        joint_config(tiny, tiny.sample(1)[0], torch.nn.Linear(2, 2))
    with pytest.raises(SpaceError, match="the model has 1 weight layers"):
        joint_config(small, arch, torch.nn.Linear(2, 2))
    torch.manual_seed(0)
    broken = small.realise(arch)
    torch.nn.init.constant_(broken[-1].weight, 1e6)
    broken[-1].weight.data[0] = 0
    with pytest.raises(QuantisationError, match="beyond 65,504 do not fit into the 16 bits"):
        quantised_network(ab.joint_space(tiny, ("kma3",)), "|".join(
            ["kma3", *(f"{unit}:kma3" for unit in plain(arch).split("|")), "kma3"]), broken)  # fmt: skip
