"""What a fused network says of itself, on a small network of a shipped space."""

import pytest

import autobuild as ab
from autobuild.cost.fusion import GroupCosts, buffer_sweep, fold
from autobuild.cost.hardware import PRESETS
from autobuild.errors import ConfigError, GraphError
from autobuild.graphs import Operation, OperationGraph


@pytest.fixture(scope="module")
def graph():
    space = ab.space("tiny_mbconv")
    return ab.graph_of(space, space.sample(1, seed=3)[0])


@pytest.mark.parametrize("scheme", ["lbdf", "brr", "mixed"])
def test_groups_add_up_and_lie_between_floor_and_unfused(graph, scheme):
    fused = ab.fuse(graph, buffer_bytes=4096, scheme=scheme)
    told = fused.metrics
    assert fused.groups["dram_bytes"].sum() == told["dram_bytes"]
    assert told["floor_dram_bytes"] <= told["dram_bytes"] <= told["unfused_dram_bytes"] <= told["separate_dram_bytes"]
    assert told["reduction"] == pytest.approx(1 - told["dram_bytes"] / told["unfused_dram_bytes"])
    assert sorted(" ".join(fused.groups["ops"]).split()) == sorted(op.name for op in fused.graph.ops)
    assert (fused.groups["buffer_bytes"][fused.groups["valid"]] <= 4096).all()
    assert [fused.group_of[i] for i in range(len(fused.graph))] == [
        next(g for g, mask in enumerate(fused.partition.groups) if mask >> i & 1) for i in range(len(fused.graph))
    ]


def test_without_fallbacks_all_columns_agree(graph):
    told = ab.fuse(graph, buffer_bytes=2**22).metrics
    assert told["fallback_dram_bytes"] == 0
    assert told["fusable_dram_bytes"] == told["dram_bytes"] == told["floor_dram_bytes"]
    assert told["groups"] == 1
    assert told["status"] == "optimal"
    assert told["optimum_gap"] == 0


def test_a_larger_buffer_never_moves_more(graph):
    swept = buffer_sweep(graph, [2**power for power in range(10, 18)])
    for _, part in swept.groupby("scheme"):
        assert part["dram_bytes"].is_monotonic_decreasing
    wide = swept.pivot(index="buffer_bytes", columns="scheme", values="dram_bytes")
    assert (wide["mixed"] <= wide[["lbdf", "brr"]].min(axis=1)).all()


def test_bytes_of_a_number_come_from_the_hardware(graph, tmp_path):
    text = (PRESETS / "edge_npu.yaml").read_text()
    (tmp_path / "wide.yaml").write_text(
        text.replace("\nweight_bytes: 1", "\nweight_bytes: 2").replace("\nactivation_bytes: 1", "\nactivation_bytes: 2")
    )
    wide = ab.fuse(graph, str(tmp_path / "wide.yaml"), buffer_bytes=2**24).metrics
    biases = sum(node.out_channels for node in graph.nodes if node.bias)  # of four bytes in either case
    assert wide["dram_bytes"] == 2 * fold(graph).floor_bytes - 4 * biases


def test_unusable_settings_are_refused(graph):
    for options, said in (
        ({"buffer_bytes": 0}, "buffer_bytes"),
        ({"scheme": "lbfd"}, "did you mean 'lbdf'"),
        ({"algorithm": "exakt"}, "did you mean 'exact'"),
        ({"split": "rendom", "algorithm": "random"}, "did you mean 'random'"),
        ({"hardware": "edge_np"}, "edge_npu"),
    ):
        with pytest.raises(ConfigError, match=said):
            ab.fuse(graph, **options)


@pytest.mark.parametrize("buffer", [float("nan"), float("inf"), "1MiB", [1], True, 0, 1.5])
def test_a_buffer_that_is_no_whole_number_is_told(graph, buffer):
    with pytest.raises(ConfigError, match=r"buffer_bytes: given .*, accepted: a positive whole number of bytes"):
        ab.fuse(graph, buffer_bytes=buffer)


@pytest.mark.parametrize("given", [{"time_limit_s": "1"}, {"time_limit_s": float("nan")}, {"budget": None}])
def test_limits_that_are_no_numbers_are_told_by_name(graph, given):
    with pytest.raises(ConfigError, match=f"{next(iter(given))}=.*: accepted: a number above zero"):
        ab.fuse(graph, **given)


@pytest.mark.parametrize("seed", ["1", -1, 0.5, None, True])
@pytest.mark.parametrize("algorithm", ["random", "local", "nsga2"])
def test_a_seed_that_is_none_is_told(graph, algorithm, seed):
    with pytest.raises(ConfigError, match=f"seed={seed!r}: accepted: an integer from 0"):
        ab.fuse(graph, algorithm=algorithm, seed=seed, budget=5)


@pytest.mark.parametrize("given", [None, 5, {}, lambda: None])
def test_what_is_no_graph_is_told(given):
    for use in (ab.fuse, fold):
        with pytest.raises(GraphError, match=f"given a {type(given).__name__}, accepted: an "):
            use(given)
    with pytest.raises(GraphError, match="accepted: the FusionGraph"):
        GroupCosts(given, 1024)


@pytest.mark.parametrize("algorithm", ["exact", "interval", "random", "local", "nsga2"])
def test_of_no_operations_nothing_moves(algorithm):
    only = OperationGraph((Operation("x", "input", (), ((1, 3, 4, 4),)),), (), (0,))
    fused = ab.fuse(only, algorithm=algorithm)
    assert (fused.metrics["dram_bytes"], fused.metrics["groups"], fused.partition.status) == (0, 0, "optimal")


def test_a_group_without_lines_has_none_in_the_largest_buffer(graph):
    """Sums of paths whose strides disagree have no schedule, however much room there is."""
    x = Operation("x", "input", (), ((1, 4, 8, 8),))
    kernel = {"kernel": (1, 1), "dilation": (1, 1), "padding": ((0, 0), (0, 0)), "groups": 1, "weight_elements": 16}
    halved = Operation("a", "conv", ((1, 4, 8, 8),), ((1, 4, 4, 4),), stride=(2, 2), **kernel)
    cut = {"axes": (2, 3), "spans": (((0, 4, 1), (0, 4, 1)),)}
    same = Operation("b", "conv", ((1, 4, 8, 8),), ((1, 4, 8, 8),), stride=(1, 1), **kernel)
    corner = Operation("c", "slice", ((1, 4, 8, 8),), ((1, 4, 4, 4),), **cut)
    both = Operation("d", "add", ((1, 4, 4, 4), (1, 4, 4, 4)), ((1, 4, 4, 4),))
    net = OperationGraph((x, halved, same, corner, both), ((0, 1), (0, 2), (1, 4), (2, 3), (3, 4)), (4,))
    costs = GroupCosts(fold(net), 10**30, "lbdf")
    assert not costs(0b111).valid
    assert costs.dram(0b111) == -1


def test_names_with_spaces_stay_one_word(graph):
    x = Operation("x", "input", (), ((1, 3, 4, 4),))
    relu = Operation("the only\u2003one", "relu", ((1, 3, 4, 4),), ((1, 3, 4, 4),))
    assert list(ab.fuse(OperationGraph((x, relu), ((0, 1),), (1,))).groups["ops"]) == ["the_only_one"]
