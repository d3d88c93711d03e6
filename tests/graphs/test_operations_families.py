"""Operation graphs of several families in one vocabulary, and one predictor for them."""

import json
import os
import tarfile

import numpy as np
import pytest
import torch
from operation_nets import NETS, build

import autobuild as ab
from autobuild.errors import GraphError, LabelError
from autobuild.graphs import OPERATION_FEATURES, Operation, OperationGraph, pack_operations
from autobuild.graphs.operation_tensors import seen_values, snap_to_seen
from autobuild.graphs.operations import ACTIVATIONS, OPERATIONS
from autobuild.models.transfer import fit_families
from autobuild.rank import srcc
from benchmarks.transfer import anb_text


def test_declared_graphs_have_the_published_parameters(published):
    with tarfile.open(published / "anb_dataset_jsons.tar.gz") as archive:
        members = [member for member in archive if member.name.endswith(".json")][:40]
        records = [json.load(archive.extractfile(member)) for member in members]
    space = ab.space("mnasnet")
    for record in records:
        graph = ab.graph_of(space, anb_text(record["architecture"]))
        assert graph.params == round(record["model_info"]["params"] * 1e6)


def test_widths_of_once_for_all():
    """The supernets that the published labels come from have widths of 1.2 and 1.3."""
    for name, widths in (("ofa_mbv3(width=1.2)", [24, 32, 48, 96, 136, 192]),
                         ("ofa_proxyless", [24, 32, 56, 104, 128, 248, 416])):  # fmt: skip
        space = ab.space(name)
        graph = ab.graph_of(space, space.sample(1)[0])
        shapes = [node.output_shape[1] for node in graph.without(ACTIVATIONS).nodes if node.type in ("conv", "add")]
        assert set(widths) <= set(shapes), name


def test_the_former_name_gives_the_same_graph():
    from autobuild.graphs.mbconv import PLANS, mbconv_graph

    space = ab.space("ofa_mbv3(width=1.2)")
    arch = space.sample(1)[0]
    with pytest.warns(DeprecationWarning, match="autobuild.graph_of"):
        former = mbconv_graph(PLANS["ofa_mbv3"], space.layers(arch), name=arch.text)
    assert former == ab.graph_of(space, arch)


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
    graphs = [ab.graph_of(space, arch).without(set(left_out)) for arch in archs]
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
