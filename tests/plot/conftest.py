from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Text

import autobuild as ab
from autobuild.importance import Scores
from autobuild.spaces import Architecture, SearchSpace


@pytest.fixture(autouse=True)
def nothing_global() -> Iterator[None]:
    """No figure is left with pyplot, and the user's settings are as they were."""
    import matplotlib.pyplot as plt

    settings = dict(mpl.rcParams)
    assert not plt.get_fignums()
    yield
    assert not plt.get_fignums()
    assert {key: value for key, value in mpl.rcParams.items() if settings[key] != value} == {}


@pytest.fixture
def given_ax() -> Axes:
    return Figure(figsize=(6, 4)).add_subplot()


@pytest.fixture(scope="session")
def scores() -> Scores:
    """Scores of a really fitted model: 60 rows, two epochs."""
    space = ab.space("tiny_mbconv")
    archs = [str(arch) for arch in space.sample(60, seed=1)]
    rng = np.random.default_rng(0)
    acc = [0.01 * text.count("k5") + 0.02 * text.count("e3") + rng.normal(0, 0.005) for text in archs]
    labels = ab.LabelledSet.from_frame(pd.DataFrame({"arch": archs, "acc": acc}), space)
    return ab.fit(labels, config=ab.FitConfig(epochs=2), model="graph").explain(scorer="hopnorm")


@dataclass
class _Model:
    space: SearchSpace
    hops: int
    target: str


class DrawnScores:
    """What the drawing asks of scores, with given numbers."""

    def __init__(self, space: SearchSpace, hops: int = 3, target: str = "acc", fill: float | None = None) -> None:
        self.model = _Model(space, hops, target)
        self.fill = fill

    def node_scores(self, arch: Architecture) -> pd.DataFrame:
        stages = zip(self.model.space.stages, arch.runs, strict=True)
        rows = [(s.name, i, s.tokens[d]) for s, run in stages for i, d in enumerate(run, start=1)]
        frame = pd.DataFrame(rows, columns=["unit", "layer", "op"])
        rng = np.random.default_rng(len(rows))
        drawn = {f"hop{hop}": rng.normal(0.8, 0.05, len(rows)) for hop in range(self.model.hops + 1)}
        return frame.assign(**drawn if self.fill is None else dict.fromkeys(drawn, self.fill))


@pytest.fixture
def drawn_scores() -> type[DrawnScores]:
    return DrawnScores


@pytest.fixture
def overlapping() -> Callable[[Figure], list[tuple[str, str]]]:
    """Pairs of texts of a figure that lie over one another."""

    def find(figure: Figure) -> list[tuple[str, str]]:
        figure.draw_without_rendering()
        texts = [t for t in figure.findobj(Text) if t.get_visible() and t.get_text().strip() and _in_view(t, figure)]
        boxes = [(t.get_text(), t.get_window_extent().padded(-1)) for t in texts if t.get_rotation() in (0, 90)]
        return [(a, b) for i, (a, p) in enumerate(boxes) for b, q in boxes[:i] if p.overlaps(q)]

    return find


def _in_view(text: Text, figure: Figure) -> bool:
    """Whether it is drawn: axes keep tick labels beyond their limits, and spare ones."""
    for ax in figure.axes:
        for axis, (low, high) in ((ax.xaxis, sorted(ax.get_xlim())), (ax.yaxis, sorted(ax.get_ylim()))):
            for tick in [*axis.majorTicks, *axis.minorTicks]:
                if text in (tick.label1, tick.label2):
                    return bool(low <= tick.get_loc() <= high)
    return True
