"""Measuring real networks: remembered by graph and machine, refused where they cannot run; latency as a cost."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from simulated import SimulatedTable
from torch import nn

import autobuild as ab
from autobuild.cost import make_cost
from autobuild.cost.latency import (
    KnownOperators,
    LatencyTable,
    Lookup,
    LookupLatency,
    MeasuredLatency,
    Meter,
    PredictedLatency,
    choose_networks,
    latency_cost,
    latency_lookup_cost,
    prepare_lookup,
)
from autobuild.cost.latency import timing as timing_module
from autobuild.cost.latency.machine import describe_machine, machine_key
from autobuild.cost.latency.timing import Timing
from autobuild.errors import ConfigError, CostError
from autobuild.evaluate import measure_latency
from autobuild.testing import CostConformance

SHAPE = (1, 3, 16, 16)
MEASURED = MeasuredLatency(Meter(passes=3, warmup=1))
LOOKED_UP = LookupLatency(Lookup(SimulatedTable(), rounds=1, measure=True))


def net(width=8):
    return nn.Sequential(nn.Conv2d(3, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU(), nn.Flatten())


@pytest.mark.parametrize("runtime", ["onnxruntime", "eager", "compiled"])
def test_measured_once_a_graph_and_machine(tmp_path, runtime):
    if runtime == "compiled" and not any(map(shutil.which, ("c++", "g++", "clang++"))):
        pytest.skip("torch.compile needs a compiler of C++")
    meter = Meter(runtime, passes=5, warmup=1, cache=tmp_path)
    first, again = meter.measure(net(), SHAPE), meter.measure(net(), SHAPE)
    assert (first.cached, again.cached) == (False, True)
    assert first.timing == again.timing
    assert first.latency_ms > 0
    assert first.machine["runtime"] == runtime
    if runtime != "compiled":  # a compilation takes ten seconds
        assert not meter.measure(net(16), SHAPE).cached  # another graph
        assert not replace(meter, passes=6).measure(net(), SHAPE).cached  # asks for more passes than there were
    folders = list(tmp_path.iterdir())
    assert [folder.name for folder in folders] == [machine_key(first.machine)]
    assert {file.suffix for file in folders[0].iterdir()} == {".json"}


def timing(median, disturbed=0, drift=0.0):
    return Timing(median, median, median, 20, disturbed, drift)


def test_what_drifts_or_is_disturbed_is_measured_again_and_told_if_it_stays_so(monkeypatch, caplog):
    graph = ab.graph_of(space := ab.space("tiny_mbconv"), space.example)
    steady, drifts, disturbed = timing(1.0), timing(2.0, drift=0.4), timing(3.0, 15, 0.5)
    for given, chosen, told in (
        ([steady], 1.0, 0),
        ([drifts, steady], 1.0, 0),
        ([disturbed, drifts, disturbed], 2.0, 1),
        ([disturbed, timing(4.0, 12, -0.2), timing(5.0, 12, 0.3)], 4.0, 2),
    ):
        left = list(given)
        monkeypatch.setattr(timing_module, "time_call", lambda *args, left=left, **options: left.pop(0))
        caplog.clear()
        assert MeasuredLatency(Meter())(graph) == {"measured_ms": chosen}
        assert not left
        left += given
        assert measure_latency(nn.ReLU(), (1, 4, 4))["latency_ms"] == chosen
        assert len(caplog.messages) == told
        assert all("measured_ms of" in message for message in caplog.messages)


def test_the_registered_cost_remembers_a_graph_from_one_process_to_the_next(tmp_path, monkeypatch):
    monkeypatch.setattr(latency_cost, "latency_folder", lambda: tmp_path / machine_key(describe_machine()))
    graph = ab.graph_of(space := ab.space("tiny_mbconv"), space.example)
    first = make_cost("latency")(graph)
    assert len(list(tmp_path.glob(f"{machine_key(describe_machine())}/*.json"))) == 1
    monkeypatch.setattr(timing_module, "time_call", lambda *args, **options: pytest.fail("measured again"))
    assert make_cost("latency")(graph) == first


def test_a_damaged_memory_is_named(tmp_path):
    meter = Meter(passes=3, warmup=1, cache=tmp_path)
    meter.measure(net(), SHAPE)
    file = next(tmp_path.glob("*/*.json"))
    file.write_text(json.dumps({"passes": 3}))
    with pytest.raises(CostError, match=file.name):
        meter.measure(net(), SHAPE)


def test_the_network_is_left_as_it_is():
    own = net().train()
    before = {key: value.clone() for key, value in own.state_dict().items()}
    threads = torch.get_num_threads()
    Meter("eager", passes=2, warmup=0).measure(own, SHAPE)
    assert own.training
    assert len(own) == 4
    assert all(torch.equal(value, before[key]) for key, value in own.state_dict().items())
    assert torch.get_num_threads() == threads


def test_more_work_takes_longer():
    meter = Meter(passes=15, warmup=3)
    small, large = (meter.measure(nn.Conv2d(3, width, 3), (1, 3, 64, 64)).timing.q10 for width in (8, 256))
    assert large > 2 * small


def test_bad_input_is_refused_by_name():
    with pytest.raises(ConfigError, match="did you mean 'onnxruntime'"):
        Meter("onnxruntim").measure(net(), SHAPE)
    with pytest.raises(CostError, match=r"could not be exported for inputs \(1, 5, 16, 16\)"):
        Meter("eager").measure(net(), (1, 5, 16, 16))
    with pytest.raises(CostError, match="not on eager"):
        MeasuredLatency(Meter("eager"))
    if not torch.cuda.is_available():
        with pytest.raises(CostError, match="device=cuda"):
            Meter("onnxruntime", "cuda").measure(net(), SHAPE)


def test_a_description_names_what_a_time_belongs_to_and_no_host():
    import platform

    described = describe_machine("eager")
    assert described["version"].startswith(torch.__version__.split("+")[0])
    assert described["processor"]
    assert platform.node() not in described.values()
    assert machine_key(described) != machine_key(describe_machine("onnxruntime"))
    assert machine_key(described) == machine_key(describe_machine("eager"))


class TestMeasured(CostConformance):
    @pytest.fixture
    def cost(self):
        return MEASURED

    @pytest.fixture
    def space(self):
        return ab.space("tiny_mbconv")


class TestLookup(CostConformance):
    @pytest.fixture
    def cost(self):
        return LOOKED_UP

    @pytest.fixture
    def space(self):
        return ab.space("tiny_mbconv")


def test_prepared_once_and_found_by_name(tmp_path, monkeypatch, tiny):
    monkeypatch.setattr(latency_lookup_cost, "latency_folder", lambda: tmp_path)
    cost = make_cost("latency_lookup")
    space = ab.space("tiny_mbconv")
    with pytest.raises(CostError, match="prepare_lookup"):
        cost(ab.graph_of(space, space.example))
    lookup = prepare_lookup(tiny[:3], rounds=1)
    assert lookup.calibration.networks == 3
    table = LatencyTable(tmp_path / "fragments.json")
    predicted, measured = lookup.latency_ms(tiny[:3]), [table.time_ms(network.key) for network in tiny[:3]]
    assert np.abs(predicted / measured - 1).max() < 0.5  # one round each, on any machine
    assert lookup.latency_ms(tiny[3:4])[0] > 0  # measured on the spot
    found = cost(ab.graph_of(space, tiny[0].name))["lookup_ms"]
    assert found == pytest.approx(predicted[0])


def test_registered_costs_say_what_they_measure():
    assert make_cost("latency").name == "measured_ms"
    assert make_cost("latency_lookup").unit == "ms"


@pytest.fixture(scope="module")
def pool():
    space = ab.space("tiny_mbconv")
    archs = space.sample(60, seed=0, design="depth")
    return space, archs, [ab.graph_of(space, arch) for arch in archs]


def test_few_networks_show_every_operator(pool):
    _, _, graphs = pool
    chosen = choose_networks(graphs, 12, cover=1)
    assert len(set(chosen)) == 12
    assert choose_networks(graphs, 5, cover=1) == chosen[:5]
    shown = KnownOperators.of(graphs[i] for i in chosen)
    assert set(shown.ranges) == set(KnownOperators.of(graphs).ranges)
    drawn = KnownOperators.of(graphs[:4])
    assert len(KnownOperators.of(graphs[i] for i in chosen[:4]).ranges) >= len(drawn.ranges)
    assert sorted(choose_networks(graphs, 60)) == list(range(60))
    with pytest.raises(CostError, match="of 60 networks 1 to 60"):
        choose_networks(graphs, 61)


def test_what_covers_nothing_more_is_taken_as_it_was_drawn(pool):
    _, _, graphs = pool
    order = choose_networks(graphs, 60)
    covering = next(n for n in range(60) if order[n:] == sorted(order[n:]))
    assert 1 <= covering < 12
    shown = KnownOperators.of(graphs[i] for i in order[:covering])
    assert set(shown.ranges) == set(KnownOperators.of(graphs).ranges)


class Linear:
    """A model with the one method that is asked for."""

    def predict(self, archs):
        value = [float(len(arch.text)) for arch in archs]
        return pd.DataFrame({"arch": [arch.text for arch in archs], "predicted": value, "lower": value, "upper": value})


def test_a_prediction_is_refused_for_operators_that_were_not_measured(pool):
    space, archs, graphs = pool
    small = [i for i, graph in enumerate(graphs) if not any(node.kernel == (5, 5) for node in graph.nodes)][:3]
    large = next(i for i, graph in enumerate(graphs) if any(node.kernel == (5, 5) for node in graph.nodes))
    cost = PredictedLatency(Linear(), KnownOperators.of(graphs[i] for i in small))
    with pytest.raises(CostError, match=r"\(5, 5\).* is in no measured network"):
        cost.of_architectures(space, [archs[large]])
    every = PredictedLatency(Linear(), KnownOperators.of(graphs))
    assert every.of_architectures(space, archs[:3])["predicted_ms"].tolist() == [len(arch.text) for arch in archs[:3]]
    with pytest.raises(CostError, match="architectures, not graphs"):
        every(graphs[0])


def test_sizes_far_beyond_those_measured_are_refused(pool):
    _, _, graphs = pool
    known = KnownOperators.of(graphs)
    node = next(node for node in graphs[0].nodes if node.type == "linear")
    larger = replace(node, macs=node.macs * 100)
    nodes = tuple(larger if one is node else one for one in graphs[0].nodes)
    known.check(graphs[0])
    with pytest.raises(CostError, match="steps of work, those that were measured"):
        known.check(replace(graphs[0], nodes=nodes))
