"""Pictures of fusion: every operation, group and size is there."""

import pytest
from matplotlib.patches import FancyBboxPatch

import autobuild as ab
from autobuild import plot
from autobuild.cost.fusion import buffer_sweep
from autobuild.errors import ConfigError


@pytest.fixture(scope="module")
def fused():
    space = ab.space("tiny_mbconv")
    return ab.fuse(ab.graph_of(space, space.sample(1, seed=3)[0]), buffer_bytes=4096, scheme="lbdf")


def test_every_operation_is_drawn_in_the_colour_of_its_group(fused, given_ax):
    ax = plot.fusion_groups(fused, ax=given_ax)
    assert ax is given_ax
    boxes = [patch for patch in ax.patches if isinstance(patch, FancyBboxPatch)]
    assert len(boxes) == len(fused.graph)
    shades = {}
    for box, group in zip(boxes, fused.group_of, strict=True):
        assert shades.setdefault(group, box.get_facecolor()) == box.get_facecolor()
    assert shades[0] != shades[1]


def test_traffic_of_every_group(fused):
    ax = plot.fusion_traffic(fused)
    heights = [patch.get_height() for patch in ax.patches]
    assert len(heights) == 2 * len(fused.partition.groups)
    assert sum(heights[len(heights) // 2 :]) == pytest.approx(fused.metrics["dram_bytes"] / 1e3)
    assert ax.get_ylabel() == "DRAM traffic (kB)"
    lower = ax.figure.axes[1]
    assert [patch.get_height() * 1024 for patch in lower.patches] == pytest.approx(list(fused.groups["buffer_bytes"]))


def test_no_words_lie_over_one_another(fused, overlapping):
    for ax in (
        plot.fusion_groups(fused),
        plot.fusion_traffic(fused),
        plot.buffer_sweep(buffer_sweep(fused.graph, [1024 * 2**k for k in range(6)])),
    ):
        assert overlapping(ax.figure) == []


def test_sweep_draws_a_line_a_scheme(fused):
    swept = buffer_sweep(fused.graph, [2048, 4096, 8192])
    ax = plot.buffer_sweep(swept)
    lines = {line.get_label(): line for line in ax.lines}
    for scheme, part in swept.groupby("scheme"):
        assert list(lines[scheme].get_ydata()) == pytest.approx(list(part["dram_bytes"] / 1e3))
    assert [label.get_text() for label in ax.get_xticklabels()] == ["2 Ki", "4 Ki", "8 Ki"]
    with pytest.raises(ConfigError, match="dram_bytes"):
        plot.buffer_sweep(swept.drop(columns="dram_bytes"))
