"""Figures take what a user holds, say what they take otherwise, and can be read on any background."""

from __future__ import annotations

import inspect
import re

import matplotlib as mpl
import matplotlib.image
import matplotlib.style
import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from matplotlib.text import Text

import autobuild as ab
from autobuild import plot
from autobuild._words import counted, signed
from autobuild.errors import ConfigError
from autobuild.plot._style import root


@pytest.fixture(scope="module")
def labels() -> ab.LabelledSet:
    space = ab.sequence_space("held", {"a": (1, 2), "b": (1, 2)}, {"kernel": (3, 5, 7), "expand": (3, 6)})
    archs = [arch.text for arch in space.sample(80, seed=0)]
    rng = np.random.default_rng(0)
    ms = [float(len(text)) + text.count("7") for text in archs]
    acc = [50 + 4 * text.count("7") + 2 * text.count("6") + rng.normal(0, 0.3) for text in archs]
    return ab.LabelledSet.from_frame(pd.DataFrame({"arch": archs, "acc": acc, "latency_ms": ms}), space)


@pytest.fixture(scope="module")
def model(labels: ab.LabelledSet) -> ab.FittedModel:
    return ab.fit(labels, "acc", model="linear")


@pytest.fixture(scope="module")
def found(labels: ab.LabelledSet):
    table = labels.frame.set_index("arch")
    return ab.search(
        labels.space, lambda arch: {"acc": table["acc"].get(arch.text, 50.0), "latency_ms": 3.0}, n_trials=5, model=None
    )


def test_figures_take_what_a_user_holds(labels, model, found):
    scores = model.explain()
    built = scores.build(top=3)
    assert plot.predicted_vs_measured(model).get_xlabel() == "measured acc"
    plot.feature_scores(model)
    plot.top_candidates(model)
    plot.architecture(model, built[0])
    for known in (labels, model, scores, labels.frame["acc"], labels.frame["acc"].to_numpy()):
        assert plot.built(built, known).get_xlabel() == "acc"
    assert plot.search_history(found).get_ylabel() == "acc"
    plot.search_chain(found)
    plot.space("tiny_mbconv")
    front = ab.pareto([scores, ab.fit(labels, "-latency_ms", model="linear").explain()])
    names = [text.get_text() for text in plot.pareto_front(front, labels).get_legend().get_texts()]
    assert names == ["labelled", "predicted front"]


@pytest.mark.parametrize("name", [name for name in plot.__all__ if name not in ("save", "style", "learning_hint")])
def test_anything_else_is_refused_by_name(name):
    figure = getattr(plot, name)
    required = [
        parameter.name
        for parameter in inspect.signature(figure).parameters.values()
        if parameter.default is inspect.Parameter.empty
    ]
    with pytest.raises(ConfigError, match=rf"plot\.{name} takes .*given: int 3"):
        figure(**dict.fromkeys(required, 3))


def test_a_labelled_network_that_breaks_a_limit_is_no_reference(labels, model):
    free, limited = (model.explain().build(top=3, where=where) for where in (None, "latency_ms <= 33"))
    frame = labels.frame
    assert free.best_labelled[1] == pytest.approx(frame["acc"].max())
    within = frame[frame["latency_ms"] <= 33]
    assert limited.best_labelled == (within.loc[within["acc"].idxmax(), "arch"], pytest.approx(within["acc"].max()))
    assert limited.best_labelled[1] < free.best_labelled[1]
    said = " ".join(text.get_text() for text in plot.built(limited, labels).texts)
    assert "best labelled within the limits" in said
    none = plot.built(limited.frame, labels, where="latency_ms <= 1")
    assert "best labelled" not in " ".join(text.get_text() for text in none.texts)


def _contrast(text: Text, behind: tuple[float, float, float, float]) -> float:
    def luminance(colour):
        parts = [c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in to_rgba(colour)[:3]]
        return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2]

    low, high = sorted((luminance(text.get_color()), luminance(behind)))
    return (high + 0.05) / (low + 0.05)


def test_text_is_readable_in_a_dark_style(labels, model, found):
    with mpl.rc_context():
        mpl.style.use("dark_background")
        scores = model.explain()
        given = Figure().add_subplot()
        drawn = [
            plot.predicted_vs_measured(model),
            plot.feature_scores(scores),
            plot.built(scores.build(top=3), labels),
            plot.search_history(found),
            plot.feature_scores(scores, ax=given),
        ]
    for ax in drawn:
        figure = root(ax)
        figure.draw_without_rendering()
        texts = [t for t in figure.findobj(Text) if t.get_text().strip() and t.get_visible()]
        assert len(texts) > 5
        dim = [t.get_text() for t in texts if _contrast(t, figure.get_facecolor()) < 4.5]
        assert not dim


def test_saved_text_can_be_edited(model, tmp_path):
    ax = plot.predicted_vs_measured(model)
    pdf = plot.save(ax, tmp_path / "a.pdf").read_bytes()
    assert b"/Type3" not in pdf
    assert b"/Type42" in pdf or b"/CIDFontType2" in pdf
    assert re.search(r"<text[^>]*>.*Predicted against measured", plot.save(ax, tmp_path / "a.svg").read_text(), re.S)


def test_zero_has_no_sign():
    given = ((-0.04, "+.1f"), (0.05, "+,.1f"), (-0.05, "+.2f"), (-1e-9, "+.1e"), (0.0, "+.0f"))
    assert [signed(value, form) for value, form in given] == ["0.0", "+0.1", "-0.05", "-1.0e-09", "0"]


def test_one_is_not_plural():
    assert (counted(1, "group"), counted(2, "group"), counted(1234, "network")) == (
        "1 group",
        "2 groups",
        "1,234 networks",
    )


def test_a_picture_from_a_dark_notebook_keeps_its_background(model, tmp_path):
    """A figure that was drawn in a light style stays light when it is saved in a dark one."""
    ax = plot.predicted_vs_measured(model)
    with mpl.rc_context():
        mpl.style.use("dark_background")
        path = plot.save(ax, tmp_path / "a.png")
    assert matplotlib.image.imread(path)[0, 0, :3].min() > 0.95
