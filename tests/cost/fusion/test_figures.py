"""Figures of an independent prototype with the same accounting: 8 bits, folded, 1 MiB, in MB to the first decimal."""

from importlib.util import find_spec

import pytest

import autobuild as ab
from autobuild.cost.fusion import GroupCosts, fold
from autobuild.cost.fusion.partition.exact import exact_partition

pytestmark = pytest.mark.skipif(find_spec("torchvision") is None, reason="torchvision is missing")


@pytest.mark.parametrize(("name", "size", "unfused", "lbdf", "mixed", "twice"), [
    ("resnet50", 224, 65.1, 33.2, 0.55, 0.55),
    ("efficientnet_b3", 300, 91.9, 23.3, 0.75, 0.80),
])  # fmt: skip
def test_figures_of_the_prototype_and_reductions_to_reach(name, size, unfused, lbdf, mixed, twice):
    graph = fold(ab.graph_of(ab.load_zoo(name), (1, 3, size, size)))
    assert round(graph.unfused_bytes / 1e6, 1) == unfused
    found = {}
    for scheme, recompute in (("lbdf", False), ("mixed", False), ("mixed", True)):
        costs = GroupCosts(graph, 2**20, scheme, recompute)
        part = exact_partition(costs)
        assert part.status == "optimal"
        assert sum(costs(mask).dram_bytes for mask in part.groups) == part.dram_bytes
        assert all(costs(mask).valid and costs(mask).buffer_bytes <= 2**20 for mask in part.groups)
        found[scheme, recompute] = part.dram_bytes
    assert round(found["lbdf", False] / 1e6, 1) == lbdf
    assert found["mixed", False] <= (1 - mixed) * graph.unfused_bytes
    assert found["mixed", True] <= (1 - twice) * graph.unfused_bytes
    assert graph.floor_bytes <= found["mixed", True] <= found["mixed", False] <= found["lbdf", False]
