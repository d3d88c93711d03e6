"""The picture of a space: what it says, that its words fit, and that its lines keep clear of its cards."""

from __future__ import annotations

import itertools

import hypothesis.strategies as st
import matplotlib as mpl
import numpy as np
import pytest
from hypothesis import given, settings
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

import autobuild as ab
from autobuild import plot
from autobuild.plot._layered_graph import Place, crossings, layered
from autobuild.plot._space_layout import plan, unit_edges
from autobuild.spaces import Feature, SearchSpace, Stage, Unit

SHIPPED = (
    "tiny_mbconv", "ofa_mbv3", "ofa_mbv3(resolution='128-224/4')", "ofa_proxyless", "ofa_resnet50", "mnasnet",
    "nas_bench_macro", "nas_bench_201", "sd_unet",
)  # fmt: skip
YAML = """
name: a_space_of_ones_own_with_quite_a_long_name
units:
  stem: {depth: 1, features: {width: [16, 24, 32], kernel: null, act: null}, text: 'w{width}'}
  a_unit_with_a_long_name: {depth: [1, 3, 12]}
  c: 2-9
  d: {depth: 1-3, tied: true, text: 'k{kernel}_{act}_{depth}'}
features: {kernel: [1, 3, 5, 7, 9, 11, 13, 15, 17], act: [relu, a_very_long_activation_name, gelu]}
text: k{kernel}_{act}
"""


def dag(nodes: int, joins: list[tuple[int, int]]) -> SearchSpace:
    stages = [Stage(f"s{i}", (1,), (Feature("op", ("a", "bb")),), "{op}") for i in range(nodes)]
    return SearchSpace("dag", [Unit(stage.name, [stage]) for stage in stages], joins=joins)


@st.composite
def dags(draw):
    nodes = draw(st.integers(1, 8))
    pairs = [(i, j) for j in range(nodes) for i in range(j)]
    return nodes, draw(st.lists(st.sampled_from(pairs), unique=True, max_size=14)) if pairs else []


def texts(ax) -> list[str]:
    return [text.get_text() for text in ax.texts]


@pytest.mark.parametrize("name", SHIPPED)
def test_it_says_every_choice_and_its_words_fit(name, overlapping):
    space = ab.space(name)
    ax = plot.space(space)
    said = texts(ax)
    figure = ax.figure
    assert overlapping(figure) == []
    size = f"{space.size:,}" if space.size < 10**7 else f"{space.size:.1e}".replace("e+0", "e").replace("e+", "e")
    assert ax.get_title(loc="left") == f"{space.name}: {size} architectures"
    for unit in space.units:
        assert said.count(unit.name) >= 1
        assert any(text == f"{unit.size:,} candidates" for text in said)
    for stage in space.stages:
        for feature in stage.features:
            assert said.count(feature.name) >= sum(feature in other.features for other in space.stages)
            if len(feature.values) < 9:
                assert {str(value) for value in feature.values} <= set(said)
    depths = {depth for stage in space.stages for depth in stage.depths}
    assert any(text.endswith(("layers", "layer")) for text in said) == (depths != {1})
    assert sum(isinstance(patch, FancyArrowPatch) for patch in ax.patches) == len(unit_edges(space))
    # every text of a card stands within it
    boxes = [patch.get_window_extent() for patch in ax.patches if isinstance(patch, FancyBboxPatch)]
    for text in ax.texts:
        if text.get_text() not in ("in", "out"):
            own = text.get_window_extent()
            assert any(box.x0 <= own.x0 and own.x1 <= box.x1 + 1 and box.y0 <= own.y0 + 2 and own.y1 <= box.y1 + 2
                       for box in boxes), text.get_text()  # fmt: skip


def test_a_users_yaml_space(tmp_path, overlapping):
    path = tmp_path / "own.yaml"
    path.write_text(YAML)
    ax = plot.space(ab.space(path))
    said = texts(ax)
    assert overlapping(ax.figure) == []
    assert {"1, 3, 12 layers", "2–9 layers", "1–3 equal layers", "1 layer", "1–17", "step 2"} <= set(said)
    assert sum(text == "act" for text in said) == 3
    plot.save(ax, tmp_path / "space.png")
    assert (tmp_path / "space.png").read_bytes()[:4] == b"\x89PNG"


def test_a_narrowed_space_shows_what_was_taken_away():
    space = ab.space("ofa_mbv3").restrict(kernel=(3, 5), depth=(2, 3))
    space.note = "narrowed by hand"
    ax = plot.space(space)
    pale = [text.get_text() for text in ax.texts if text.get_color() == "#AAAAAA"]
    assert pale == ["7"] * 5
    assert texts(ax).count("2–3 layers") == 5
    assert texts(ax).count("252 of 7,371 candidates") == 5
    assert ax.get_xlabel() == "narrowed by hand"
    joined = plot.space(space.join_units("stage4", "stage5"))
    assert {"stage4+stage5", "stage4: 2–3 layers", "stage5: 2–3 layers"} <= set(texts(joined))


def test_axes_given_are_drawn_into(tmp_path):
    figure = Figure(figsize=(9, 6))
    axes = figure.subplots(2, 1)
    before = dict(mpl.rcParams)
    for ax, name in zip(axes, ("sd_unet", "mnasnet"), strict=True):
        assert plot.space(ab.space(name), ax=ax) is ax
    assert dict(mpl.rcParams) == before
    plot.save(axes, tmp_path / "two.png")
    sizes = [{text.get_fontsize() for text in ax.texts} for ax in axes]
    assert max(sizes[0]) < 8.5  # a wide space in little room has small words


def inside(card, points: np.ndarray) -> np.ndarray:
    left, top, one = card
    x, y = points.T
    slack = 0.01
    return (x > left + slack) & (x < left + one.width - slack) & (y < top - slack) & (y > top - one.height + slack)


@settings(max_examples=60, deadline=None)
@given(dags())
def test_lines_run_around_all_cards(drawn):
    where = plan(dag(*drawn))
    for line in where.lines:
        points = line.interpolated(1).to_polygons(closed_only=False)[0]
        dense = np.concatenate([np.linspace(a, b, 30) for a, b in itertools.pairwise(points)])
        assert not any(inside(card, dense).any() for card in where.cards)
    for a in where.cards:
        for b in where.cards:
            apart = (
                a[0] + a[2].width < b[0]
                or b[0] + b[2].width < a[0]
                or a[1] - a[2].height > b[1]
                or b[1] - b[2].height > a[1]
            )
            assert a is b or apart


@settings(max_examples=60, deadline=None)
@given(dags())
def test_columns_hold_every_node_once_and_every_edge_on_its_way(drawn):
    nodes, edges = drawn
    columns = layered(nodes, edges)
    column = {p.source: p.column for entries in columns for p in entries if p.target is None}
    assert sorted(p.source for entries in columns for p in entries if p.target is None) == list(range(nodes))
    assert all(p.column == number for number, entries in enumerate(columns) for p in entries)
    for source, target in edges:
        assert column[source] < column[target]
        for between in range(column[source] + 1, column[target]):
            assert Place(between, source, target) in columns[between]
    sources = {target for _, target in edges}
    assert all((column[node] == 0) == (node not in sources) for node in range(nodes))


def test_crossings_are_counted_and_taken_away():
    a, b, c, d = Place(0, 0), Place(0, 1), Place(1, 2), Place(1, 3)
    assert crossings([[a, b], [c, d]], [(a, d), (b, c)]) == 1
    assert crossings([[a, b], [d, c]], [(a, d), (b, c)]) == 0
    assert [[p.source for p in entries] for entries in layered(4, [(0, 3), (1, 2)])] in (
        [[1, 0], [2, 3]],
        [[0, 1], [3, 2]],
    )


@pytest.mark.parametrize("name", ["nas_bench_201", "sd_unet"])
def test_the_shipped_graphs_are_drawn_without_a_crossing(name):
    space = ab.space(name)
    edges = unit_edges(space)
    columns = layered(len(space.units) + 2, edges)
    place = {p.source: p for entries in columns for p in entries if p.target is None}
    links = []
    for source, target in edges:
        between = range(place[source].column + 1, place[target].column)
        steps = [place[source], *(Place(column, source, target) for column in between), place[target]]
        links += list(itertools.pairwise(steps))
    assert crossings(columns, links) == 0


def test_a_long_chain_goes_on_in_rows_of_readable_width():
    where = plan(
        ab.sequence_space("long", {f"unit{i}": "1-4" for i in range(23)}, {"kernel": [3, 5], "expand": [3, 6]})
    )
    assert where.right - where.left < 12
    assert len({round(top, 6) for _, top, _ in where.cards}) >= 3
    firsts = [card[0] for card in where.cards]
    assert firsts.count(min(firsts)) == len({round(top, 6) for _, top, _ in where.cards})
