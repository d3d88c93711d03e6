"""Forms beyond plain chains: tied stages, an input size, cells with joins and a text of their own, options."""

import itertools
from collections import Counter

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings

import autobuild as ab
from autobuild.errors import ConfigError, SpaceError
from autobuild.graphs import pack_architectures
from autobuild.spaces import Feature, Identity, SearchSpace, Stage, Unit
from autobuild.testing import SearchSpaceConformance

OPS = ("none", "skip", "conv", "pool")


def tied_space(**changed):
    unit = {"depth": [1, 2, 4], "tied": True}
    return ab.sequence_space(
        "tied",
        {"a": unit, "b": unit},
        {"expand": [1, 4], "kernel": [3, 5]},
        text="e{expand}k{kernel}l{depth}",
        **changed,
    )


def diamond():
    """Four edges: input to two nodes, each of them to the output."""
    stages = [Stage(name, (1,), (Feature("op", OPS),), "{op}") for name in ("a", "b", "c", "d")]
    return SearchSpace(
        "diamond",
        [Unit(stage.name, [stage]) for stage in stages],
        joins=[(0, 2), (1, 3)],
        pattern="<{}&{}>[{}&{}]",
        identity=Identity({"op": "skip"}, cut={"op": "none"}),
    )


class TestTied(SearchSpaceConformance):
    @pytest.fixture
    def space(self):
        return tied_space()


class TestTiedNarrowed(SearchSpaceConformance):
    @pytest.fixture
    def space(self):
        return tied_space().restrict(kernel=3, depth=(1, 4)).join_units("a", "b")


def partly_tied_space():
    """One width a unit, a kernel in each layer."""
    return ab.sequence_space(
        "partly_tied",
        {"a": {"depth": [1, 2, 4], "tied": ["width"]}, "b": {"depth": "1-3", "tied": ["width"]}, "c": 2},
        {"kernel": [3, 5, 7], "width": [16, 24]},
        text="w{width}k{kernel}",
    )


class TestPartlyTied(SearchSpaceConformance):
    @pytest.fixture
    def space(self):
        return partly_tied_space()


class TestPartlyTiedNarrowed(SearchSpaceConformance):
    @pytest.fixture
    def space(self):
        return partly_tied_space().restrict({"a": range(0, 150, 7)}, kernel=(3, 7)).join_units("a", "b")


class TestWithResolution(SearchSpaceConformance):
    @pytest.fixture
    def space(self):
        return tied_space(resolution="128-224/32")


class TestCell(SearchSpaceConformance):
    @pytest.fixture
    def space(self):
        return diamond()


class TestCellJoined(SearchSpaceConformance):
    @pytest.fixture
    def space(self):
        return diamond().restrict({"a": ["conv", "pool"]}).join_units("a", "b")


def test_tied_runs_repeat_one_layer():
    space = tied_space()
    assert [unit.size for unit in space.units] == [12, 12]
    arch = space.parse("e4k5l4|e1k3l1")
    assert space.layers(arch) == [[{"expand": 4, "kernel": 5}] * 4, [{"expand": 1, "kernel": 3}]]
    assert {a.text for a in space.neighbours(arch)} == {
        "e1k5l4|e1k3l1", "e4k3l4|e1k3l1", "e4k5l2|e1k3l1", "e4k5l4|e4k3l1", "e4k5l4|e1k5l1", "e4k5l4|e1k3l2",
    }  # fmt: skip
    assert space.stages[0].tokens == ("e1k3", "e1k5", "e4k3", "e4k5")
    with pytest.raises(SpaceError, match="all layers are the same"):
        space.units[0].index_of_runs([(0, 1)])
    for wrong, said in [("e4k5l3|e1k3l1", "depth=3.*depth takes 1, 2, 4"), ("e4k5|e1k3l1", "does not have the form")]:
        with pytest.raises(SpaceError, match=said):
            space.parse(wrong)
    with pytest.raises(SpaceError, match=r"must name \{depth\}"):
        ab.sequence_space("x", {"a": {"depth": [1, 2], "tied": True}}, {"k": [1]}, text="k{k}")


def test_some_features_are_chosen_once_a_unit(tmp_path):
    path = tmp_path / "partly.yaml"
    path.write_text(
        "name: partly\nunits: {a: {depth: 1-3, tied: [width]}, b: {depth: 2, tied: [width, kernel]}, c: {tied: []}}\n"
        "features: {kernel: [3, 5, 7], width: [16, 24]}\ntext: 'w{width}k{kernel}'"
    )
    space = ab.space(path)
    assert [unit.size for unit in space.units] == [2 * (3 + 3**2 + 3**3), 6, 6]
    every = [candidate.text for candidate in space.units[0]]
    assert len(set(every)) == 78
    assert all(len({layer[:3] for layer in text.split("-")}) == 1 for text in every)
    arch = space.parse("w24k3-w24k7|w16k5-w16k5|w16k3")
    assert space.layers(arch)[0] == [{"kernel": 3, "width": 24}, {"kernel": 7, "width": 24}]
    with pytest.raises(
        SpaceError, match="unit 'a': width is chosen once here, for all layers; given width=16, width=24"
    ):
        space.parse("w16k3-w24k7|w16k5-w16k5|w16k3")
    with pytest.raises(SpaceError, match="unit 'b': kernel is chosen once"):
        space.parse("w16k3|w16k5-w16k7|w16k3")
    assert space.params(arch) == {
        "a.depth": 2, "a.width": 24, "a.1.kernel": 3, "a.2.kernel": 7, "b.kernel": 5, "b.width": 16, "c.kernel": 3,
        "c.width": 16,
    }  # fmt: skip
    assert space.from_params(space.params(arch)) == arch
    stored = space.to_dict()
    assert [unit["stages"][0].get("tied") for unit in stored["units"]] == [["width"], ["width", "kernel"], None]
    back = SearchSpace.from_json(space.to_json())
    assert (back.stages, back.sample(5, 1)) == (space.stages, space.sample(5, 1))
    stored["units"][0]["stages"][0]["tied"] = "width"
    with pytest.raises(SpaceError, match="unit 'a': tied='width'; accepted: true"):
        SearchSpace.from_dict(stored)
    steps = {other.text.split("|")[0] for other in space.neighbours(arch)}
    assert steps == {
        "w16k3-w16k7", "w24k5-w24k7", "w24k7-w24k7", "w24k3-w24k3", "w24k3-w24k5", "w24k3", "w24k3-w24k7",
        "w24k3-w24k7-w24k3", "w24k3-w24k7-w24k5", "w24k3-w24k7-w24k7",
    }  # fmt: skip
    drawn = Counter(len(run) for arch in space.sample(600, 0, "uniform") for run in space.layers(arch)[:1])
    assert abs(drawn[3] / 600 - 54 / 78) < 0.08


@settings(max_examples=30, deadline=None)
@given(
    depths=st.sets(st.integers(1, 3), min_size=1), sizes=st.lists(st.integers(1, 3), min_size=1, max_size=3),
    data=st.data(),
)  # fmt: skip
def test_partly_tied_stages_of_any_shape_enumerate(depths, sizes, data):
    features = tuple(Feature(f"f{number}", tuple(range(size))) for number, size in enumerate(sizes))
    once = tuple(data.draw(st.sets(st.sampled_from([feature.name for feature in features]))))
    text = "_".join(f"{feature.name}{{{feature.name}}}" for feature in features)
    stage = Stage("s", tuple(depths), features, text, once=once)
    places = [number for number, feature in enumerate(features) if feature.name in once]
    allowed = {
        run
        for depth in depths
        for run in itertools.product(range(len(stage.layers)), repeat=depth)
        if len({tuple(stage.layers[digit][place] for place in places) for digit in run}) == 1
    }
    single = [stage.run(number) for number in range(stage.size)]
    assert len(single) == len(allowed)
    assert set(single) == allowed
    assert [stage.index(run) for run in single] == list(range(stage.size))
    runs = stage.runs(np.arange(stage.size))
    assert [tuple(int(d) for d in run if d >= 0) for run in runs] == single
    assert [stage.parse(text) for text in stage.texts(runs)] == single


@settings(max_examples=30, deadline=None)
@given(depths=st.sets(st.integers(1, 5), min_size=1, max_size=4), values=st.integers(1, 4))
def test_tied_stages_of_any_shape_enumerate(depths, values):
    stage = Stage("s", tuple(depths), (Feature("k", tuple(range(values))),), "k{k}d{depth}", tied=True)
    runs = stage.runs(np.arange(stage.size))
    assert stage.size == len(depths) * values
    single = [stage.run(i) for i in range(stage.size)]
    assert [tuple(int(d) for d in run if d >= 0) for run in runs] == single
    assert [stage.parse(text) for text in stage.texts(runs)] == single == [stage.parse(stage.format(r)) for r in single]


def test_resolution_is_a_choice_in_front_of_the_network():
    space = tied_space(resolution="128-224/32")
    assert space.units[0].name == "input"
    assert space.size == 4 * 12 * 12
    arch = space.parse("r160|e4k5l2|e1k3l1")
    graph = space.graph(arch)
    assert graph.nodes[0] == {"resolution": 160, "expand": None, "kernel": None, "unit": "input", "layer": 1}
    assert graph.nodes[1]["resolution"] is None
    assert (0, 1) in graph.edges
    assert space.restrict(resolution=(128, 160)).units[0].size == 2
    assert space.restrict(depth=2).size == 4 * 4 * 4
    for mask in ([True, False, True, False], np.array([True, False, True, False]), [1.5]):
        with pytest.raises(SpaceError, match="accepted are indices, texts and candidates"):
            space.restrict({"input": mask})
    with pytest.raises(SpaceError, match="accepted is a mapping"):
        space.restrict(["input"])
    for seed in (-1, 1.5, "0", True, None):
        with pytest.raises(ConfigError, match=r"seed=.*an integer of at least 0"):
            space.sample(2, seed)
    with pytest.raises(SpaceError, match="from 0 to 10,000,000"):
        space.sample(10**9)
    with pytest.raises(SpaceError, match=r"resolution=100.*resolution takes 128, 160, 192, 224"):
        space.parse("r100|e4k5l2|e1k3l1")
    for wrong in ("128-220/32", "224", [], [0], "128-224/0", 1.5):
        with pytest.raises(SpaceError, match="accepted are sizes"):
            tied_space(resolution=wrong)


def test_edges_of_a_cell_are_packed_as_its_joins_say():
    space = diamond()
    arch = space.parse("<conv&skip>[pool&none]")
    packed = pack_architectures(space, [arch, arch])
    assert sorted(map(tuple, packed.edges.T.tolist())) == [(0, 2), (1, 3), (4, 6), (5, 7)]
    assert space.graph(arch).edges == ((0, 2), (1, 3))
    for wrong in ("<conv&skip>[pool]", "<conv&skip>[pool&none", "conv", "<conv&skip>[pool&pol]"):
        with pytest.raises(SpaceError, match=r"as in|op=pol"):
            space.parse(wrong)


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("<conv&skip>[pool&none]", "<none&conv>[skip&pool]", True),  # the other path, and behind a cut
        ("<conv&pool>[skip&skip]", "<skip&pool>[conv&skip]", True),  # an identity before or behind
        ("<conv&conv>[skip&skip]", "<conv&none>[skip&skip]", False),
        ("<conv&skip>[pool&skip]", "<pool&skip>[conv&skip]", False),  # the order counts
        ("<none&none>[conv&conv]", "<skip&none>[none&conv]", True),  # nothing reaches the output
        ("<skip&skip>[skip&skip]", "<skip&none>[skip&skip]", False),  # twice the input is not the input
    ],
)
def test_keys_of_cells(one, other, same):
    space = diamond()
    assert (space.key(space.parse(one)) == space.key(space.parse(other))) == same


def test_options_are_read_as_literals_only():
    for text in (
        "ofa_mbv3(1.2)",
        "ofa_mbv3(width=",
        "ofa_mbv3(width=__import__('os'))",
        "ofa_mbv3(**{})",
        "tiny_mbconv(",
    ):
        with pytest.raises(SpaceError, match="cannot be read as a space with options"):
            ab.space(text)
    with pytest.raises(SpaceError, match="unknown search space 'ofa_mb'"):
        ab.space("ofa_mb(width=1.2)")
    with pytest.raises(SpaceError, match=r"has no option 'width': accepted: num_classes"):
        ab.space("tiny_mbconv", width=1)


def test_methods_take_an_architecture_or_its_text():
    space = ab.space("tiny_mbconv")
    arch = space.sample(1, seed=0)[0]
    for method in (space.format, space.indices, space.layers, space.key, space.params, space.choices):
        assert method(arch.text) == method(arch)
    assert space.graph(arch.text).edges == space.graph(arch).edges
    assert space.candidate(arch.text, 0).text == space.candidate(arch, 0).text
    assert list(space.neighbours(arch.text)) == list(space.neighbours(arch))
    assert space.mutate(arch.text, seed=1) == space.mutate(arch, seed=1)
    other = ab.space("nas_bench_macro").sample(1, seed=0)[0]
    for wrong in (other, 3, None):
        with pytest.raises(SpaceError, match=r"not of|is accepted"):
            space.layers(wrong)
