"""What a fused network says of itself, on a small network of a shipped space."""

import pytest

import autobuild as ab
from autobuild.cost.fusion import buffer_sweep, fold
from autobuild.errors import ConfigError
from autobuild.resources import resource_dir


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
    text = (resource_dir("conf") / "hardware" / "edge_npu.yaml").read_text()
    (tmp_path / "wide.yaml").write_text(
        text.replace("\nweight_bytes: 1", "\nweight_bytes: 2").replace("\nactivation_bytes: 1", "\nactivation_bytes: 2")
    )
    wide = ab.fuse(graph, str(tmp_path / "wide.yaml"), buffer_bytes=2**24).metrics
    assert wide["dram_bytes"] == 2 * fold(graph).floor_bytes


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
