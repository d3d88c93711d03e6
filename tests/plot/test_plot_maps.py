"""Maps of effects, interactions, comparisons and waterfalls."""

from __future__ import annotations

import re

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle

import autobuild as ab
from autobuild import plot
from autobuild.errors import ConfigError


@pytest.fixture(scope="module")
def additive(small_labels):
    return ab.fit(small_labels, "acc", model="gp").explain()


def cells(ax: Axes) -> list[Rectangle]:
    return [patch for patch in ax.patches if isinstance(patch, Rectangle) and patch.get_fill()]


def test_the_map_hatches_what_the_labels_cannot_tell(additive) -> None:
    ax = plot.effect_map(additive)
    places = additive.places
    assert len(cells(ax)) == len(places)
    unknown = ((places["lower"] <= 0) & (places["upper"] >= 0)).sum()
    assert sum(bool(patch.get_hatch()) for patch in ax.patches) == unknown
    texts = [t.get_text() for t in ax.texts]
    assert {"a", "b", "width", "kernel", "depth"} <= set(texts)
    largest = places["effect"].abs().max()
    assert any(re.fullmatch(rf"[+−]{largest:.2f}", text) for text in texts)
    assert plot.effect_map(places).get_title(loc="left") == "Effect of each choice, in units of the target"


def test_columns_of_a_feature_lie_together_whatever_the_units_have(additive) -> None:
    places = additive.places
    first = (places["unit"] == "a") & (places["feature"] == "depth") & (places["value"] == 1)
    ax = plot.effect_map(places[~first])  # the first unit that has a depth of 1 comes after the other features
    names = [label.get_text() for label in ax.get_xticklabels()]
    assert names[:2] == ["1", "2"]
    gaps = np.diff(ax.get_xticks())
    assert sorted(gaps.round(2)) == [1.0] * (len(names) - 3) + [1.35] * 2


def test_the_map_takes_additive_scores_alone(scores) -> None:
    with pytest.raises(ConfigError, match="additive"):
        plot.effect_map(scores)
    with pytest.raises(ConfigError, match="additive"):
        plot.waterfall(scores, scores.space.example)


def test_a_waterfall_ends_at_the_prediction(additive) -> None:
    arch = additive.build(top=1)[0]
    predicted = float(additive.model.predict_mean([arch])[0])
    for since in (None, additive.model.training_archs[0]):
        ax = plot.waterfall(additive, arch, since)
        assert ax.texts[-1].get_text() == plot._style.number(predicted)
        last = ax.patches[1]
        assert last.get_x() + last.get_width() == pytest.approx(predicted)


def test_interactions_draw_shares_and_pairs(additive) -> None:
    panels = plot.interactions(additive)
    assert len(panels) == 1 + min(2, len(additive.interactions))
    shares = [float(t.get_text()) for t in panels[0].texts if t.get_text()]
    assert sum(shares) == pytest.approx(100, abs=1)
    with pytest.raises(ConfigError, match="interactions"):
        plot.interactions(3)  # type: ignore[arg-type]


def test_a_comparison_has_a_column_for_each_target(additive, small_labels) -> None:
    other = ab.fit(small_labels, "-latency", model="linear").explain()
    ax = plot.comparison([additive, other])
    assert [label.get_text() for label in ax.get_xticklabels()] == ["acc", "-latency"]
    assert len(cells(ax)) == 2 * len(additive.unit_features)


def test_looks_change_new_figures_and_end_with_the_block(additive, tmp_path) -> None:
    with plot.style("paper"):
        paper = plot.effect_map(additive)
        path = plot.save(paper, tmp_path / "map.svg")
    assert paper.figure.get_figwidth() == pytest.approx(85 / 25.4)
    assert "<text" in path.read_text()  # text that can be edited
    with plot.style("dark"):
        dark = plot.feature_scores(additive)
    assert np.mean(dark.figure.get_facecolor()[:3]) < 0.2
    assert np.mean(plot.feature_scores(additive).figure.get_facecolor()[:3]) == 1
    with pytest.raises(ConfigError, match="screen"):
        plot.style("poster")
