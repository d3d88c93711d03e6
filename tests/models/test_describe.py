"""Descriptions: named numbers of architectures, against the space's own words, costs and keys."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import autobuild as ab
from autobuild.models import Describer
from autobuild.models._graph_walks import flow, path_numbers
from autobuild.models.describe import stage_places
from autobuild.spaces.isomorphism import CELL_INPUT

SPACES = ("ofa_mbv3", "mnasnet", "nas_bench_macro", "nas_bench_201", "tiny_mbconv", "ofa_resnet50")


@pytest.mark.parametrize("name", SPACES)
def test_choices_are_the_layers_of_the_architecture(name):
    space = ab.space(name)
    describer = Describer(space)
    archs = space.sample(20, seed=3, design="depth")
    described = describer(archs)
    for row, arch in enumerate(archs):
        runs = describer.simplified(arch)
        for number, stage in enumerate(space.stages):
            names = stage_places(stage)
            held = {place for place, on in zip(names, described.choices[number][row], strict=True) if on}
            wanted = {(stage.name, 0, "depth", len(runs[number]))} if len(stage.depths) > 1 else set()
            for layer, digit in enumerate(runs[number][:1] if stage.tied else runs[number], start=1):
                place = 0 if stage.tied else layer
                wanted |= {(stage.name, place, f, v) for f, v in stage.layer_dict(digit).items()}
            assert held == wanted


@pytest.mark.parametrize("name", ["nas_bench_macro", "nas_bench_201"])
def test_equal_chains_and_cut_edges_are_described_alike(name):
    """Where every network of a key is simplified, its walks and costs no longer tell the twins apart."""
    space = ab.space(name)
    describer = Describer(space)
    archs = space.sample(1500, seed=0)
    described = describer(archs)
    seen: dict[str, int] = {}
    twins = 0
    for row, arch in enumerate(archs):
        first = seen.setdefault(space.key(arch), row)
        if first == row:
            continue
        twins += 1
        if name == "nas_bench_macro":
            for part in described.choices:
                np.testing.assert_array_equal(part[first], part[row])
            np.testing.assert_array_equal(described.whole[first], described.whole[row])
        else:
            assert described.walks[first] == described.walks[row]
    assert twins > 20


def test_costs_enter_as_logarithms():
    space = ab.space("mnasnet")
    archs = space.sample(10, seed=1)
    whole = Describer(space)(archs).whole
    for cost in ("params", "macs"):
        expected = np.log1p(ab.costs(space)[cost](archs))
        assert (np.abs(whole - expected[:, None]).max(axis=0) < 1e-9).any(), cost
    assert Describer(space, costs=False)(archs).whole.shape[1] < whole.shape[1]


def test_walks_follow_live_paths_of_a_cell():
    space = ab.space("nas_bench_201")
    arch = space.parse("|nor_conv_3x3~0|+|none~0|skip_connect~1|+|none~0|avg_pool_3x3~1|nor_conv_1x1~2|")
    (walks,) = Describer(space)([arch]).walks
    assert walks["in>nor_conv_3x3"] == 1
    assert walks["in>nor_conv_3x3>avg_pool_3x3>out"] == 1
    assert walks["in>nor_conv_3x3>nor_conv_1x1>out"] == 1  # through the skip connection
    assert not any("none" in walk or "skip" in walk for walk in walks)


def test_taking_rows_equals_describing_them():
    space = ab.space("nas_bench_201")
    archs = space.sample(12, seed=5)
    rows = np.array([7, 2, 2, 11])
    taken, direct = Describer(space)(archs).take(rows), Describer(space)([archs[row] for row in rows])
    for one, other in zip([*taken.choices, *taken.amounts], [*direct.choices, *direct.amounts], strict=True):
        np.testing.assert_array_equal(one, other)
    assert taken.walks == direct.walks


def test_paths_of_a_cell_are_counted_by_hand():
    space = ab.space("nas_bench_201")
    arch = space.parse("|nor_conv_3x3~0|+|skip_connect~0|nor_conv_1x1~1|+|skip_connect~0|none~1|avg_pool_3x3~2|")
    dead = space.parse("|none~0|+|none~0|none~1|+|none~0|none~1|none~2|")
    graphs = [flow(space, Describer(space).simplified(own)) for own in (arch, dead)]
    numbers, none = path_numbers(space, graphs)
    # in -> out; in -> pool -> out; in -> 3x3 -> 1x1 -> pool -> out
    assert numbers[0] == pytest.approx(np.log1p(3))
    assert numbers[1] == 1
    kinds = 1 + 5
    mean, most, least = numbers[2 : 2 + kinds], numbers[2 + kinds : 2 + 2 * kinds], numbers[2 + 2 * kinds :]
    assert (mean[0], most[0], least[0]) == (pytest.approx(4 / 3), 3, 0)
    place = 1 + ["none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3"].index("avg_pool_3x3")
    assert (mean[place], most[place], least[place]) == (pytest.approx(2 / 3), 1, 0)
    assert none[0] == 0
    assert (none[2:] == -1).all()


@given(st.integers(0, 10_000))
@settings(max_examples=25)
def test_path_counts_are_those_of_walking_every_path(seed):
    space = ab.space("nas_bench_201")
    arch = space.sample(1, seed=seed)[0]
    graph = flow(space, Describer(space).simplified(arch))

    def paths(terms):
        for source, times in terms:
            for _ in range(times):
                if source == CELL_INPUT:
                    yield 0
                else:
                    yield from (1 + length for length in paths(graph.feeders[source]))

    lengths = list(paths(graph.output))
    (numbers,) = path_numbers(space, [graph])
    assert numbers[0] == pytest.approx(np.log1p(len(lengths)))
    if lengths:
        assert numbers[2] == pytest.approx(np.mean(lengths))
        assert numbers[2 + 6] == max(lengths)
        assert numbers[2 + 12] == min(lengths)
