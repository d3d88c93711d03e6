"""TransNAS-Bench-101: its texts, its networks' costs, and which cells are one function."""

import pandas as pd
import pytest
import torch

import autobuild as ab
from autobuild.testing import SearchSpaceConformance
from benchmarks.report import counted_by_torch

MICRO, MACRO = "trans_nas_bench_micro", "trans_nas_bench_macro"


class TestMicro(SearchSpaceConformance):
    @pytest.fixture
    def space(self):
        return ab.space(MICRO)


class TestMacro(SearchSpaceConformance):
    @pytest.fixture
    def space(self):
        return ab.space(MACRO)


@pytest.mark.parametrize(("name", "size"), [(MICRO, 4096), (MACRO, 3256)])
def test_the_published_texts_are_the_space(published, name, size):
    space = ab.space(name)
    texts = pd.read_csv(published / f"{name}.csv")["arch"].tolist()
    assert space.size == size == len({space.indices(space.parse(text)) for text in texts})


@pytest.mark.parametrize(
    ("name", "archs"),
    [(MICRO, ["64-41414-3_10_113", "64-41414-1_02_301"]), (MACRO, ["64-141144-basic", "64-2312-basic"])],
)
def test_tables_graphs_and_networks_agree(name, archs):
    space = ab.space(name)
    table = ab.costs(space).table([space.parse(arch) for arch in archs], ["params", "macs"])
    for arch, own in zip(archs, table[["params", "macs"]].to_numpy().tolist(), strict=True):
        with torch.device("meta"):
            network = space.realise(arch)
        graph = ab.graph_of(space, arch)
        assert (graph.params, graph.macs) == tuple(own) == counted_by_torch(network, (3, 256, 256))


def test_parameters_by_hand():
    """A stem of 1,056 and 18,560, two convolutions of 9 c c' + 2 c' a block, shortcuts, and a head."""
    conv = lambda a, b, k=3: k * k * a * b + 2 * b  # noqa: E731
    blocks = [(64, 128, True), (128, 128, False), (128, 128, True), *[(128, 128, False)] * 5]
    known = 9 * 3 * 32 + 64 + conv(32, 64) + 129 * 47
    known += sum(conv(a, b) + conv(b, b) + (conv(a, b, 1) if cut else 0) for a, b, cut in blocks)
    assert ab.costs(ab.space(MACRO))["params"]([ab.space(MACRO).parse("64-2311-basic")])[0] == known


def test_a_skip_from_the_input_of_a_cell_is_no_identity():
    space = ab.space(MICRO)
    key = lambda code: space.key(f"64-41414-{code}")  # noqa: E731
    assert key("3_00_010") == key("3_01_001")  # a skip between inner nodes
    assert key("1_00_030") != key("0_00_300")  # from the input, it halves the size in some cells
    assert key("3_30_001") == key("3_30_010")
    assert key("3_00_300") == key("0_00_300")  # node 1 leads nowhere
    network = space.realise("64-41414-1_00_030", num_classes=5)
    with torch.no_grad():
        assert network.eval()(torch.zeros(1, 3, 64, 64)).shape == (1, 5)
