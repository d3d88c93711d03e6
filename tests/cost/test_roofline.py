"""Roofline and activation peak, against sums by hand and brute force."""

import dataclasses

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

import autobuild as ab
from autobuild.cost import ActivationPeak, Roofline, read_hardware
from autobuild.cost.activation_peak_bytes_cost import peak_bytes
from autobuild.cost.fusion import fold
from autobuild.errors import CostError

EDGE = read_hardware("edge_npu")


class Two(nn.Module):
    """Two convolutions with a skip over the second, then a sum over all positions."""

    def __init__(self):
        super().__init__()
        self.one = nn.Conv2d(3, 8, 3, padding=1)
        self.two = nn.Conv2d(8, 8, 1)

    def forward(self, x):
        x = torch.relu(self.one(x))
        return (torch.relu(self.two(x)) + x).mean((2, 3))


@pytest.fixture(scope="module")
def graph():
    return ab.graph_of(Two(), (1, 3, 10, 10))


def test_three_operations_by_hand(graph):
    one, two, add, pool = Roofline(EDGE).steps(graph)
    assert (one.type, two.type, add.type, pool.type) == ("conv", "conv", "add", "global_avg_pool")
    assert (one.macs, one.dram_bytes) == (8 * 27 * 100, (8 * 27 + 4 * 8) + 300 + 800)
    assert (two.macs, two.dram_bytes) == (8 * 8 * 100, (64 + 4 * 8) + 800 + 800)
    assert (add.macs, add.dram_bytes) == (0, 3 * 800)
    assert (pool.macs, pool.dram_bytes) == (0, 800 + 8)
    # 21,600 MACs at 512 a cycle and 1 GHz: 42.2 ns; 1,348 bytes at 6.4 GB/s: 210.6 ns
    assert one.compute_s == pytest.approx(42.1875e-9)
    assert one.memory_s == pytest.approx(210.625e-9)
    assert one.seconds == one.memory_s
    assert one.energy_j == pytest.approx((21_600 * 0.23 + 1_348 * 162.5) * 1e-12)
    found = Roofline(EDGE)(graph)
    assert found["roofline_ms"] == pytest.approx(1e3 * (1_348 + 1_696 + 2_400 + 808) / 6.4e9)
    assert found["roofline_mj"] == pytest.approx(1e-9 * (28_000 * 0.23 + 6_252 * 162.5))


def test_the_sum_of_bytes_is_the_unfused_figure_and_a_fast_memory_leaves_the_multipliers(graph):
    folded = fold(graph)
    assert sum(step.dram_bytes for step in Roofline(EDGE).steps(graph)) == folded.unfused_bytes
    fast = dataclasses.replace(EDGE, dram_bytes_per_s=1e18)
    assert Roofline(fast)(graph)["roofline_ms"] == pytest.approx(1e3 * graph.macs / 512e9)
    assert set(Roofline(fast).table(graph)["bound"]) == {"compute", "memory"}  # an addition has nothing to multiply
    wide = dataclasses.replace(EDGE, weight_bytes=2, activation_bytes=4)
    one = Roofline(wide).steps(graph)[0]
    assert one.dram_bytes == 2 * 8 * 27 + 4 * 8 + 4 * (300 + 800)


def test_an_operation_without_a_rule_is_refused():
    class Exponential(nn.Module):
        def forward(self, x):
            return torch.linalg.matrix_exp(x)

    with pytest.raises(CostError, match=r"no rule for the multiply-accumulates of aten\.linalg_matrix_exp") as error:
        Roofline(EDGE)(ab.graph_of(Exponential(), (1, 4, 4)))
    assert error.value.reason == "unknown"


def test_the_peak_by_hand(graph):
    # the input (300) and the first map; both maps; both and their sum; the sum and the means
    assert ActivationPeak(EDGE)(graph) == {"activation_peak_bytes": 2400}
    half = dataclasses.replace(EDGE, activation_bytes=2)
    assert ActivationPeak(half)(graph) == {"activation_peak_bytes": 4800}


@given(st.integers(0, 10**6))
def test_the_peak_equals_looking_at_every_moment(seed):
    space = ab.space("ofa_resnet50") if seed % 2 else ab.space("nas_bench_macro")
    folded = fold(ab.graph_of(space, space.sample(1, seed=seed)[0]))
    moments = []
    for now in range(len(folded)):
        alive = 0
        for tensor in folded.tensors:
            born = tensor.producer <= now
            needed = tensor.output or tensor.consumers >> now or tensor.producer == now
            alive += tensor.dram_bytes * bool(born and needed)
        moments.append(alive)
    assert peak_bytes(folded) == max(moments)
