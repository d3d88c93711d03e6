"""Figures of scores: features, candidates, and the architecture coloured hop by hop."""

from __future__ import annotations

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes
from matplotlib.collections import PatchCollection
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch

import autobuild as ab
from autobuild import plot
from autobuild.errors import ConfigError, SpaceError
from autobuild.plot._style import fold, number, shorten
from autobuild.spaces import Feature, SearchSpace, Stage, Unit


def nodes(ax: Axes) -> PatchCollection:
    return next(c for c in ax.collections if isinstance(c, PatchCollection))


def arrows(ax: Axes) -> list[FancyArrowPatch]:
    return [patch for patch in ax.patches if isinstance(patch, FancyArrowPatch)]


def dag(name_length: int = 1) -> SearchSpace:
    """Six edges of a cell, joined as in NAS-Bench-201: no neighbours are chained."""
    ops = (Feature("op", ("none", "skip_connect", "nor_conv_3x3")),)
    names = [f"edge {pair}{'x' * name_length}" for pair in ("01", "02", "12", "03", "13", "23")]
    units = [Unit(name, (Stage(name, (1,), ops, "{op}"),)) for name in names]
    return SearchSpace("cell", units, joins=[(0, 2), (0, 4), (1, 5), (2, 5)])


def test_features_draw_effects_and_counts(scores) -> None:
    ax = plot.feature_scores(scores)
    np.testing.assert_allclose([bar.get_width() for bar in ax.patches], scores.features["effect"])
    labels = [label.get_text() for label in ax.get_yticklabels()]
    assert labels == [str(value) for value in scores.features["value"]]
    said = [t.get_text() for t in ax.texts]
    assert {"expand", "kernel", "se", "unit", "layer"} <= set(said)
    assert {f"{n:,}" for n in scores.features["n_seen"]} <= set(said)
    assert "acc" in ax.get_xlabel()


def test_features_never_seen_are_hollow_and_odd_values_are_named(given_ax: Axes) -> None:
    frame = pd.DataFrame(
        {"feature": ["a", "a", "b"], "value": [None, "v" * 60, 3], "effect": [0.5, np.nan, -1.0], "n_seen": [0, 2, 7]}
    )
    assert plot.feature_scores(frame, ax=given_ax, target="speed") is given_ax
    assert [bar.get_facecolor()[3] for bar in given_ax.patches] == [0, 1, 1]
    assert [bar.get_width() for bar in given_ax.patches] == [0.5, 0, -1]
    labels = [label.get_text() for label in given_ax.get_yticklabels()]
    assert labels[0] == "none"
    assert len(labels[1]) == 24
    assert "never" in [t.get_text() for t in given_ax.texts]
    assert "speed" in given_ax.get_xlabel()
    assert "No features" in plot.feature_scores(frame.head(0)).texts[0].get_text()


def test_candidates_draw_best_median_and_worst(scores) -> None:
    axes = plot.top_candidates(scores, top=4)
    assert len(axes) == len(scores.space.units)
    for ax, (unit, group) in zip(axes, scores.candidates.groupby("unit", sort=False), strict=True):
        ends = [bar.get_x() + bar.get_width() for bar in ax.patches]
        np.testing.assert_allclose(ends, [*group["score"].nlargest(4), group["score"].min()])
        assert {bar.get_x() for bar in ax.patches} == {group["score"].median()}
        names = [label.get_text() for label in ax.get_yticklabels()]
        assert names[:4] == group["candidate"].head(4).tolist()
        assert names[4].startswith("worst: ")
        assert ax.get_title(loc="left").startswith(f"{unit}: {len(group):,} candidates")
        assert ax.get_xlim() == axes[0].get_xlim()


def candidates(units: int, count: int = 3) -> pd.DataFrame:
    rows = [(f"u{u}", f"c{c}", float(c), c, c == 0) for u in range(units) for c in range(count)]
    return pd.DataFrame(rows, columns=["unit", "candidate", "score", "n_seen", "unseen_depth"])


def test_candidates_mark_what_was_not_seen() -> None:
    (ax,) = plot.top_candidates(candidates(1), top=3)
    assert [label.get_text() for label in ax.get_yticklabels()] == ["c2", "c1", "c0"]  # nothing is left to be the worst
    assert [t.get_text().split("   ")[1] for t in ax.texts] == ["seen 2×", "seen 1×", "never seen"]
    assert [bool(bar.get_hatch()) for bar in ax.patches] == [False, False, True]
    assert "hatched" in ax.get_xlabel()


@pytest.mark.parametrize("units", [1, 8, 9, 20])
def test_candidates_of_many_units_find_a_place(units: int, overlapping) -> None:
    axes = plot.top_candidates(candidates(units), top=2)
    assert len({tuple(ax.get_position().bounds) for ax in axes}) == units
    assert overlapping(axes.figure) == []
    assert axes.figure.get_size_inches()[1] < 12


def test_candidates_into_given_axes() -> None:
    figure = Figure()
    given = [figure.add_subplot(1, 2, i) for i in (1, 2)]
    assert list(plot.top_candidates(candidates(2), axes=given)) == given
    with pytest.raises(ConfigError, match="2 axes were given for 3 units"):
        plot.top_candidates(candidates(3), axes=given)
    with pytest.raises(ConfigError, match="top=0"):
        plot.top_candidates(candidates(2), top=0)
    with pytest.raises(ConfigError, match="empty"):
        plot.top_candidates(candidates(0))


def test_architecture_colours_are_the_node_scores(scores) -> None:
    arch = scores.model.space.parse("e1k1s0-e3k5s1|e2k3s0|e3k3s1-e1k1s1-e3k5s0")
    frame = scores.node_scores(arch)
    hops = range(scores.model.hops + 1)
    ax = plot.architecture(scores, arch)
    np.testing.assert_allclose(nodes(ax).get_array(), np.concatenate([frame[f"hop{hop}"] for hop in hops]))
    ax.figure.draw_without_rendering()
    colours = mpl.colormaps["viridis"](nodes(ax).norm(frame["hop0"].to_numpy()))
    np.testing.assert_allclose(nodes(ax).get_facecolors()[: len(frame)], colours)
    assert [label.get_text() for label in ax.get_yticklabels()] == [f"hop {hop}" for hop in hops]
    shown = [t.get_text() for t in ax.texts]
    assert [shown.count(op) for op in frame["op"]] == [len(hops) * frame["op"].eq(op).sum() for op in frame["op"]]
    assert [name for name in shown if name.startswith("stage")] == ["stage1", "stage2", "stage3"]
    assert len(arrows(ax)) == len(hops) * (len(frame) - 1)
    assert "acc" in ax.figure.axes[1].get_ylabel()


def test_architecture_outlines_where_a_unit_is_seen_whole(scores) -> None:
    ax = plot.architecture(scores, "e1k1s0-e3k5s1|e2k3s0|e3k3s1-e1k1s1-e3k5s0")
    wide = np.flatnonzero(np.asarray(nodes(ax).get_linewidths()) > 1)
    assert [tuple(map(int, divmod(i, 6))) for i in wide] == [(0, 2), (1, 1), (2, 5)]  # (hop, node): depth less 1


def test_architecture_draws_chosen_hops_into_given_axes(scores, given_ax: Axes) -> None:
    arch = ab.space("tiny_mbconv").sample(1, seed=4)[0]
    assert plot.architecture(scores, arch, hops=[2, 0], ax=given_ax) is given_ax
    assert [label.get_text() for label in given_ax.get_yticklabels()] == ["hop 2", "hop 0"]
    frame = scores.node_scores(arch)
    np.testing.assert_allclose(nodes(given_ax).get_array(), [*frame["hop2"], *frame["hop0"]])


def test_architecture_says_what_it_cannot_draw(scores) -> None:
    arch = scores.model.space.sample(1)[0]
    with pytest.raises(ConfigError, match="hop 9: the model has hops 0 to"):
        plot.architecture(scores, arch, hops=[9])
    with pytest.raises(ConfigError, match="no hop to draw"):
        plot.architecture(scores, arch, hops=[])
    with pytest.raises(SpaceError):
        plot.architecture(scores, "nonsense")


def test_joins_are_arcs_that_stay_above_the_layers(drawn_scores) -> None:
    space = dag()
    ax = plot.architecture(drawn_scores(space), space.sample(1)[0], hops=[0, 1])
    assert len(arrows(ax)) == 2 * 4
    ax.figure.draw_without_rendering()
    boxes = [path.get_extents() for path in nodes(ax).get_paths()]
    tops = sorted({round(box.y1, 6) for box in boxes}, reverse=True)
    floor = min(box.y0 for box in boxes if box.y1 > tops[1] + 0.1)  # of the first row
    for i, arrow in enumerate(arrows(ax)):
        y = np.concatenate([polygon[:, 1] for polygon in arrow.get_path().to_polygons(closed_only=False)])
        assert y.min() >= tops[i // 4] - 0.03
        assert y.max() > tops[i // 4] + 0.1
        if i >= 4:
            assert y.max() < floor


@pytest.mark.parametrize(
    "name", ["ofa_mbv3", "ofa_proxyless", "tiny_mbconv", "cell", "long names", "shallow", "one value", "small axes"]
)
def test_no_texts_overlap(name: str, drawn_scores, overlapping) -> None:
    space = {"cell": dag(), "long names": dag(40)}.get(name) or ab.space(
        name if "_" in name else {"small axes": "ofa_mbv3"}.get(name, "tiny_mbconv")
    )
    largest = [unit.size - 1 for unit in space.units]  # the deepest candidates: 20 layers and more
    arch = space.assemble([0] * len(largest) if name == "shallow" else largest)
    target = "100*log(acc) - 0.01*latency_gpu" if name == "shallow" else "acc"
    ax = Figure(figsize=(5, 3), layout="constrained").add_subplot() if name == "small axes" else None
    fill = 0.5 if name == "one value" else None
    drawn = plot.architecture(drawn_scores(space, 4, target, fill), arch, ax=ax)
    assert overlapping(drawn.figure) == []


def test_scores_that_are_no_numbers(drawn_scores) -> None:
    space = dag()
    ax = plot.architecture(drawn_scores(space, fill=np.nan), space.sample(1)[0])
    assert "No score is a number" in ax.texts[0].get_text()


def test_words() -> None:
    assert shorten("abcdefghij", 7) == "abc…hij"
    assert shorten("abc", 3) == "abc"
    assert fold("e4k5l2s0") == "e4k5\nl2s0"
    assert fold("skip_connect") == "skip_\nconnect"
    assert fold("e3k3s1") == "e3k3s1"
    assert all(len(line) <= 9 for line in fold("w" * 80).split("\n"))
    assert [number(x) for x in (0.782, 91.23456, 1234.0, 0.0)] == ["0.7820", "91.23", "1234", "0.000"]
