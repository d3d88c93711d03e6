"""Views of a tensor against the numbers that they hold, listed one by one."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

import autobuild as ab
from autobuild.cost import make_cost
from autobuild.cost.fusion import fold
from autobuild.cost.fusion.strided_views import Base, View


@st.composite
def views(draw):
    """A view of a map, some steps from it, and beside it the places of its numbers in memory."""
    shape = (1, draw(st.integers(1, 6)), draw(st.integers(1, 5)), draw(st.integers(1, 4)))
    view, held = (
        View.whole(Base(shape, draw(st.sampled_from([2, None])), 0)),
        np.arange(math.prod(shape)).reshape(shape),
    )
    for step in draw(st.lists(st.sampled_from(["flat", "merge", "permute", "slice"]), max_size=4)):
        if step == "permute":
            order = tuple(draw(st.permutations(range(held.ndim))))
            view, held = view.permuted(order), held.transpose(order)
            continue
        if step == "slice":
            axis = draw(st.integers(0, held.ndim - 1))
            start = draw(st.integers(0, held.shape[axis] - 1))
            span = (start, draw(st.integers(start + 1, held.shape[axis])), draw(st.integers(1, 3)))
            view, held = view.sliced((axis,), (span,)), np.take(held, range(*span), axis)
            continue
        place = draw(st.integers(0, held.ndim - 1)) if step == "merge" else 0
        wanted = (*held.shape[:place], math.prod(held.shape[place:]))
        seen = view.reshaped(wanted)
        if seen.base is not view.base:  # strides cannot say it: a new base begins
            break
        view, held = seen, held.reshape(wanted)
    return view, held.ravel()


@given(views())
def test_the_span_encloses_every_number_of_the_view(drawn):
    view, held = drawn
    base = view.base
    outer, within = held // (base.rows * base.inner), held % base.inner
    low, high = view.span()
    assert 0 <= low <= (outer * base.inner + within).min()
    assert (outer * base.inner + within).max() <= high < base.width


@pytest.mark.parametrize("shape", [(1, 3, 8, 8), (1, 12, 5, 7), (1, 6, 1, 1), (4, 3, 8, 8)])
def test_a_flattened_map_is_read_as_a_whole(shape):
    graph = fold(ab.graph_of(nn.Flatten(), shape))
    assert [tensor.dram_bytes for tensor in graph.tensors] == [math.prod(shape)]
    assert make_cost("activation_peak_bytes")(ab.graph_of(nn.Flatten(), shape)) == {
        "activation_peak_bytes": math.prod(shape)
    }


def test_a_classifier_on_a_flattened_map_by_hand():
    """As in AlexNet and VGG: the map is written and read in full, 1024 bytes each way where nothing is fused."""
    net = nn.Sequential(nn.Conv2d(3, 16, 3, padding=1), nn.Flatten(), nn.Linear(1024, 2))
    fused = ab.fuse(ab.graph_of(net, (1, 3, 8, 8)))
    weights = 16 * 27 + 16 * 4 + 2 * 1024 + 2 * 4
    assert fused.metrics["unfused_dram_bytes"] == weights + 192 + 1024 + 1024 + 2
    assert fused.metrics["dram_bytes"] == weights + 192 + 2
    assert fused.metrics["largest_buffer_bytes"] >= 1024  # a flattened map stays until its last row is there
