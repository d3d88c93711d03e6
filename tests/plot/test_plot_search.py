"""Pictures of a search."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from autobuild import plot
from autobuild.errors import ConfigError


def history() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "evaluations": range(6),
            "study": ["", "s", "s", "s/2", "s/2", "s/2"],
            "measured": [np.nan, 2.0, np.nan, 4.0, 3.0, 5.0],
            "best": [3.0, 3.0, 3.0, 4.0, 4.0, 5.0],
            "hypervolume": [0.1, 0.1, 0.1, 0.3, 0.3, 0.4],
        }
    )


def test_the_best_so_far_steps_up_and_linked_studies_are_parted():
    ax = plot.search_history(history(), "acc")
    steps = next(line for line in ax.lines if line.get_label() == "best so far")
    np.testing.assert_array_equal(steps.get_ydata(), [3, 3, 3, 4, 4, 5])
    assert [line.get_xdata()[0] for line in ax.lines if len(set(line.get_xdata())) == 1] == [2.5]
    start = next(line for line in ax.lines if line.get_label() == "best label at the start")
    assert start.get_ydata()[0] == 3
    assert ax.get_ylabel() == "acc"


def test_a_search_without_an_evaluation_says_so():
    empty = history().iloc[:1].assign(best=np.nan)
    assert "Nothing was evaluated" in plot.search_history(empty).texts[0].get_text()


def test_the_hypervolume_is_drawn_as_it_grew():
    ax = plot.search_hypervolume(history())
    np.testing.assert_array_equal(ax.lines[-1].get_ydata(), history()["hypervolume"])


def test_a_front_is_drawn_with_what_is_smaller_turned_round():
    trials = pd.DataFrame(
        {
            "arch": list("abcd"),
            "source": ["label", "search", "search", "search"],
            "state": "COMPLETE",
            "violation": [0.0, 0.0, 0.0, 0.5],
            "acc": [1.0, 2.0, 3.0, 9.0],
            "-ms": [-2.0, -1.0, -5.0, -1.0],
        }
    )
    ax = plot.search_front(trials, trials.iloc[[2, 1]], ["acc", "-ms"])
    drawn = {points.get_label(): points.get_offsets().tolist() for points in ax.collections}
    assert drawn["front"] == [[5, 3], [1, 2]]
    assert drawn["label"] == [[2, 1]]
    assert drawn["violates a limit"] == [[1, 9]]
    assert ax.get_xlabel() == "ms (smaller is better)"
    with pytest.raises(ConfigError, match="two or three"):
        plot.search_front(trials, trials, ["acc"])
    assert "No network satisfies" in plot.search_front(trials, trials.iloc[:0], ["acc", "-ms"]).texts[0].get_text()


def test_the_chain_has_a_bar_a_study_on_a_scale_of_powers_of_ten():
    chain = pd.DataFrame(
        {
            "study": ["s", "s/2"],
            "size": [10**40, 10**4],
            "space_share": [1.0, 1e-36],
            "evaluated": [0, 20],
            "reused": [100, 7],
        }
    )
    ax = plot.search_chain(chain)
    assert [bar.get_width() for bar in ax.patches] == [40, 4]
    texts = [text.get_text() for text in ax.texts]
    assert texts[0].startswith("1.0e40: 0 evaluated, 100 known")
    assert "20 evaluated, 7 known" in texts[1]


def test_no_words_lie_over_one_another(overlapping):
    told = {"study": ["s"], "size": [2 * 10**11], "space_share": [1.0], "evaluated": [40], "reused": [0]}
    long = "100*log(accuracy_of_the_validation_set) - 0.01*latency_ms"
    for ax in (
        plot.search_history(history(), long),
        plot.search_hypervolume(history()),
        plot.search_chain(pd.DataFrame(told)),
    ):
        assert overlapping(ax.figure) == []


@pytest.mark.parametrize("draw", [plot.search_history, plot.search_hypervolume, plot.search_chain])
def test_a_column_that_is_missing_is_named(draw):
    with pytest.raises(ConfigError, match="needs a column"):
        draw(pd.DataFrame({"x": [1]}))
