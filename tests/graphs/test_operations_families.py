"""Operation graphs of several families in one vocabulary, and one predictor for them."""

import json
import os
import tarfile
from dataclasses import replace

import numpy as np
import pytest
import torch
from operation_nets import NETS, build, stirred

import autobuild as ab
from autobuild.errors import GraphError, LabelError
from autobuild.graphs import OPERATION_FEATURES, Operation, OperationGraph, pack_operations
from autobuild.graphs.mbconv import PLANS, MBConvPlan, MBConvStage, make_divisible, mbconv_graph
from autobuild.graphs.operations import ACTIVATIONS, OPERATIONS
from autobuild.graphs.pack_operations import seen_values, snap_to_seen
from autobuild.models.transfer import fit_families
from autobuild.rank import srcc

TINY = MBConvPlan(
    "tiny_mbconv",
    12,
    "hard_swish",
    tuple(MBConvStage(width, stride, "hard_swish", None) for width, stride in ((12, 1), (20, 2), (32, 2))),
    (("hard_swish", 0, False), ("global_avg_pool", 0, False), ("linear", 10, True)),
    squeezed=lambda inputs, expanded: max(4, expanded // 4),
    in_channels=1,
)


@pytest.mark.parametrize("text", ["e3k3s1-e1k5s0|e2k1s0|e1k3s1-e3k1s0", "e1k3s0|e2k5s1-e2k5s1|e3k1s1"])
def test_a_declared_graph_equals_the_traced_one(text):
    space = ab.space("tiny_mbconv")
    declared = mbconv_graph(TINY, space.layers(space.parse(text)), 20)
    traced = ab.graph_of(stirred(space.realise(text)), (1, 1, 20, 20))

    def facts(graph):
        return [replace(node, name="", module="", op="") for node in graph.nodes]

    assert facts(declared) == facts(traced)
    assert declared.edges == traced.edges


def test_declared_graphs_have_the_published_parameters(published):
    with tarfile.open(published / "anb_dataset_jsons.tar.gz") as archive:
        members = [member for member in archive if member.name.endswith(".json")][:40]
        records = [json.load(archive.extractfile(member)) for member in members]
    for record in records:
        a = record["architecture"]
        choice = [{"expand": a[f"block{b}_e"], "kernel": a[f"block{b}_k"], "se": a[f"block{b}_se"]} for b in range(7)]
        graph = mbconv_graph(PLANS["mnasnet"], [[own] * a[f"block{b}_l"] for b, own in enumerate(choice)])
        assert graph.params == round(record["model_info"]["params"] * 1e6)


def test_widths_of_once_for_all():
    assert [stage.width for stage in PLANS["ofa_mbv3"].stages] == [32, 48, 96, 136, 192]
    assert [stage.width for stage in PLANS["ofa_proxyless"].stages] == [32, 56, 104, 128, 248, 416]
    assert [make_divisible(value) for value in (3, 19.2, 28.8, 249.6)] == [8, 24, 32, 248]
    space = ab.space("ofa_proxyless")
    with pytest.raises(GraphError, match="given layers of 6 stages, accepted: 5"):
        mbconv_graph(PLANS["ofa_mbv3"], space.layers(space.sample(1)[0]))


def test_packing_keeps_nodes_edges_and_outputs():
    graphs = [ab.graph_of(*build(name)) for name in NETS]
    packed = pack_operations(graphs)
    assert packed.x.shape == (sum(map(len, graphs)), len(OPERATION_FEATURES))
    assert (packed.x >= 0).all()
    assert (packed.x < torch.tensor(list(OPERATION_FEATURES.values()))).all()
    edges = packed.edges.T.tolist()
    for number, graph in enumerate(graphs):
        first, last = int(packed.ptr[number]), int(packed.ptr[number + 1])
        assert sorted((a - first, b - first) for a, b in edges if first <= b < last) == list(graph.edges)
        assert [OPERATIONS[code] for code in packed.x[first:last, 0]] == [node.type for node in graph.nodes]
        assert int(packed.roots[number]) - first == graph.outputs[0]
    assert torch.equal(pack_operations(graphs[1:2]).x, packed.slice(1, 2).x)
    with pytest.raises(GraphError, match="nothing to pack"):
        pack_operations([OperationGraph((), (), ())])


def test_any_size_has_a_place_in_the_vocabulary():
    sizes = {"kernel": (31, 31), "stride": (16, 16), "groups": 1, "macs": 10**18, "weight_bytes": 10**15}
    huge = Operation("h", "conv", ((8, 3, 9, 9),), ((8, 10**6, 9000, 9000),), **sizes)
    nothing = Operation("n", "other", (), ((),), macs=None)
    graph = OperationGraph((huge, nothing), (), (0,))
    codes = pack_operations([graph]).x
    names = list(OPERATION_FEATURES)
    assert (codes < torch.tensor(list(OPERATION_FEATURES.values()))).all()
    assert codes[0, names.index("macs")] == OPERATION_FEATURES["macs"] - 1
    assert codes[1, names.index("ratio")] == codes[1, names.index("macs")] == 0


def test_the_batch_does_not_matter():
    net, shape = build("gated")
    one, four = ab.graph_of(net, shape), ab.graph_of(net, (4, *shape[1:]))
    assert four.macs == 4 * one.macs
    assert torch.equal(pack_operations([one]).x, pack_operations([four]).x)


def test_unseen_steps_become_the_nearest_seen_one():
    packed = pack_operations([ab.graph_of(*build("gated"))])
    column = list(OPERATION_FEATURES).index("out_channels")
    seen = [(), *[()] * (column - 1), (0, 5, 13), *[()] * (len(OPERATION_FEATURES) - column - 1)]
    snapped = snap_to_seen(packed, seen)
    for before, after in zip(packed.x[:, column].tolist(), snapped.x[:, column].tolist(), strict=True):
        assert after == (0 if before == 0 else min((5, 13), key=lambda step: abs(step - before)))
    others = [place for place in range(len(OPERATION_FEATURES)) if place != column]
    assert torch.equal(snapped.x[:, others], packed.x[:, others])
    assert torch.equal(snap_to_seen(packed, seen_values(packed)).x, packed.x)


def family(name, rows, seed):
    """Graphs of a family with a target that both families share: wide kernels and depth are good, MACs cost."""
    space = ab.space(name)
    archs = space.sample(rows, seed=seed, design="depth")
    layers = [space.layers(arch) for arch in archs]
    left_out = ("alias", "input", "hard_sigmoid", *ACTIVATIONS)
    graphs = [mbconv_graph(PLANS[name], own).without(set(left_out)) for own in layers]
    worth = [sum(layer["kernel"] + layer["expand"] for stage in own for layer in stage) for own in layers]
    return graphs, np.array(worth, dtype=float) * (1 if name == "ofa_mbv3" else 100) + 7


def test_one_predictor_ranks_a_family_it_has_not_seen():
    known = {"ofa_mbv3": family("ofa_mbv3", 96, 0)}
    config = ab.FitConfig(epochs=25, batch_size=16)
    encoder = ab.EncoderConfig(hops=2, width=16)
    model = fit_families(known, config=config, encoder=encoder)
    graphs, values = family("ofa_proxyless", 100, 1)
    new, labelled = graphs[:60], graphs[60:]
    assert srcc(model.predict(new), values[:60]) > 0.5
    adapted = model.adapt(labelled, values[60:])
    predicted = adapted.predict(new)
    assert srcc(predicted, values[:60]) > 0.95
    assert np.abs(predicted - values[:60]).mean() < 0.3 * values[:60].std()  # in the new family's own units
    again = fit_families(known, config=config, encoder=encoder)
    assert np.array_equal(again.predict(new), model.predict(new))


def test_unusable_families_are_refused():
    graphs, values = family("ofa_mbv3", 16, 0)
    for families, said in [({}, "given no family"), ({"a": (graphs, values[:5])}, "a: given 16 graphs"),
                           ({"a": (graphs[:9], values[:9])}, "at least 16"),
                           ({"a": (graphs, values * np.nan)}, "finite")]:  # fmt: skip
        with pytest.raises(LabelError, match=said):
            fit_families(families)


@pytest.mark.skipif("AUTOBUILD_DATA" not in os.environ, reason="AUTOBUILD_DATA is not set")
def test_the_benchmark_reads_the_published_labels(published):
    from benchmarks import transfer

    graphs, values = transfer.mnasnet(published, 6)
    assert len(graphs) == len(values) == 6
    assert transfer.ofa(published, "ofa_mbv3", 3)[1].tolist() == pytest.approx([0.757352, 0.7725, 0.757], abs=0.05)
