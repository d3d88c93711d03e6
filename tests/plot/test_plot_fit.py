"""Figures of a fit: the numbers drawn are the numbers given."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes

from autobuild import plot
from autobuild.errors import ConfigError
from autobuild.rank import srcc

CURVE = pd.DataFrame({"n": [800, 100, 400, 200], "test_srcc": [0.93, 0.6, 0.9, 0.8], "test_mae": [1.0, 4.0, 2.0, 3.0]})


def words(ax: Axes) -> str:
    return "\n".join([ax.get_title(loc="left"), ax.get_title(), *(t.get_text() for t in ax.texts)])


def test_history_draws_every_loss(given_ax: Axes) -> None:
    frame = pd.DataFrame({"epoch": [1, 2, 3], "loss": [3.0, 2, 1], "regression": [1.0, 1, 0.5], "ranking": [2, 1, 0.5]})
    assert plot.history(frame, ax=given_ax) is given_ax
    drawn = {line.get_label(): line.get_ydata().tolist() for line in given_ax.lines}
    assert drawn == {name: frame[name].tolist() for name in ("loss", "regression", "ranking")}
    assert given_ax.get_yscale() == "log"


def test_history_stays_linear_where_a_loss_is_not_positive() -> None:
    frame = pd.DataFrame({"epoch": [1, 2], "loss": [0.1, -0.1], "regression": [0.1, 0.0], "ranking": [0.0, -0.1]})
    assert plot.history(frame).get_yscale() == "linear"
    assert "nothing was fitted" in words(plot.history(frame.head(0)))


def test_learning_curve_sorts_and_draws_both_panels() -> None:
    ax = plot.learning_curve(CURVE)
    above, below = ax.figure.axes
    assert above is ax
    assert above.lines[0].get_xydata().tolist() == [[100, 0.6], [200, 0.8], [400, 0.9], [800, 0.93]]
    assert below.lines[0].get_xydata().tolist() == [[100, 4.0], [200, 3.0], [400, 2.0], [800, 1.0]]
    assert above.get_position().y0 > below.get_position().y0
    assert [t.get_text() for t in above.texts] == ["0.600", "0.800", "0.900", "0.930"]


def test_learning_curve_takes_given_axes(given_ax: Axes) -> None:
    assert plot.learning_curve(CURVE, ax=given_ax) is given_ax
    free = given_ax.figure.add_axes((0.1, 0.1, 0.2, 0.2))
    before = len(free.figure.axes)
    assert plot.learning_curve(CURVE, ax=free) is free
    assert len(free.figure.axes) == before  # no place in a grid: the rank correlation alone


@pytest.mark.parametrize(
    ("srccs", "said"),
    [
        ([0.8, 0.88], "Still rising"),
        ([0.98, 0.981], "flat"),
        ([0.9, 0.85], "flat"),
        ([0.9], "Too few"),
        ([], "Too few"),
    ],
)
def test_hint(srccs: list[float], said: str) -> None:
    frame = pd.DataFrame({"n": [100 * 2**i for i in range(len(srccs))], "test_srcc": srccs}, dtype=float)
    assert said in plot.learning_hint(frame)


@pytest.mark.parametrize(
    ("rows", "said"), [(12, "Too few held-out rows to tell: 12; at least 30"), (30, "Still rising")]
)
def test_hint_says_nothing_where_nothing_can_be_said(rows: int, said: str) -> None:
    frame = pd.DataFrame({"n": [60, 120], "test_srcc": [0.7, 0.8], "n_test": rows})
    assert said in plot.learning_hint(frame)


def test_hint_is_per_doubling() -> None:
    frame = pd.DataFrame({"n": [100, 400], "test_srcc": [0.7, 0.8]})
    assert "+0.050" in plot.learning_hint(frame)


def test_learning_curve_without_judged_fits_says_so() -> None:
    unjudged = CURVE.assign(test_srcc=np.nan)
    assert "too small for a curve" in words(plot.learning_curve(unjudged))
    assert "too small for a curve" in words(plot.learning_curve(CURVE.head(0)))
    assert len(plot.learning_curve(CURVE.assign(test_mae=np.nan)).lines[0].get_xdata()) == 4


def test_scatter_draws_rows_and_words() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=50)
    y = x + rng.normal(0, 0.3, 50)
    ax = plot.predicted_vs_measured(pd.DataFrame({"measured": x, "predicted": y}), "acc")
    np.testing.assert_array_equal(np.asarray(ax.collections[-1].get_offsets()), np.column_stack([x, y]))
    assert f"SRCC {srcc(y, x):.3f}" in words(ax)
    assert f"error {np.abs(x - y).mean():.2g}" in words(ax)
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("measured acc", "predicted acc")
    assert ax.get_xlim() == ax.get_ylim()
    line = ax.lines[0].get_xydata()
    assert (line[:, 0] == line[:, 1]).all()


def test_band_is_the_models_interval(scores) -> None:
    heldout = pd.concat([scores.model.heldout] * 4)
    ax = plot.predicted_vs_measured(heldout, level=0.8)
    errors = np.sort(np.abs(heldout["measured"] - heldout["predicted"]))
    half = errors[int(np.ceil((len(errors) + 1) * 0.8)) - 1]
    corners = ax.collections[0].get_paths()[0].vertices
    assert np.abs(corners[:, 1] - corners[:, 0]).max() == pytest.approx(half)
    assert len(plot.predicted_vs_measured(heldout, level=None).collections) == 1
    assert len(plot.predicted_vs_measured(heldout.head(3), level=0.9).collections) == 1  # too few rows for 90 %


def test_scatter_with_gaps_and_without_rows(given_ax: Axes) -> None:
    frame = pd.DataFrame({"measured": [1.0, np.nan, 3.0], "predicted": [1.0, 2.0, np.inf]})
    ax = plot.predicted_vs_measured(frame, ax=given_ax)
    assert len(ax.collections[-1].get_offsets()) == 1
    assert "2 not finite, left out" in words(ax)
    assert "SRCC undefined" in words(ax)
    assert "No rows were held out" in words(plot.predicted_vs_measured(frame.head(0)))
    with pytest.raises(ConfigError, match="level=1"):
        plot.predicted_vs_measured(frame, level=1.0)


def test_hop_bars() -> None:
    ax = plot.hop_correlation({"hop_srcc": [0.5, None, -0.25], "test_srcc": 0.9, "n_test": 1234})
    assert [bar.get_height() for bar in ax.patches] == [0.5, 0, -0.25, 0.9]
    assert [t.get_text() for t in ax.texts] == ["0.500", "undefined", "-0.250", "0.900"]
    assert [t.get_text() for t in ax.get_xticklabels()] == ["hop 0", "hop 1", "hop 2", "prediction"]
    assert ax.get_ylim()[0] < -0.25
    assert "1,234 held-out rows" in words(ax)


def test_hop_bars_of_a_report_without_holdout(given_ax: Axes) -> None:
    ax = plot.hop_correlation({"hop_srcc": None, "test_srcc": None}, ax=given_ax)
    assert ax is given_ax
    assert "No rows were held out" in words(ax)
    with pytest.raises(ConfigError, match="hop_srcc"):
        plot.hop_correlation({"test_srcc": 0.5})


@pytest.mark.parametrize("draw", [plot.history, plot.learning_curve, plot.predicted_vs_measured])
def test_missing_columns_are_named(draw) -> None:
    with pytest.raises(ConfigError, match=r"needs a column .*accepted: epoc"):
        draw(pd.DataFrame({"epoc": [1]}))
