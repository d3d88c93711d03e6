"""The built networks beside the labelled ones, saving, and being shown."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from autobuild import plot
from autobuild.errors import ConfigError, RunError

BUILT = pd.DataFrame({"rank": [1, 2, 3], "predicted": [0.9, 0.8, np.nan]})
LABELS = np.random.default_rng(0).normal(0.5, 0.1, 300)


def marks(ax: Axes) -> list[np.ndarray]:
    """Drawn points: predicted, then measured."""
    return [np.ma.filled(c.get_offsets(), np.nan)[:, 0] for c in ax.collections if len(c.get_offsets()) == 3]


def test_built_draws_histogram_and_marks(given_ax: Axes) -> None:
    assert plot.built(BUILT, LABELS, ax=given_ax, measured=[0.7, np.nan], target="acc") is given_ax
    assert sum(bar.get_height() for bar in given_ax.patches) == 300
    predicted, measured = marks(given_ax)
    np.testing.assert_array_equal(predicted, [0.9, 0.8, np.nan])
    np.testing.assert_array_equal(measured, [0.7, np.nan, np.nan])
    lines = sorted(line.get_xdata()[0] for line in given_ax.lines)
    np.testing.assert_allclose(lines, [LABELS.mean(), LABELS.max()])
    said = [t.get_text() for t in given_ax.texts]
    assert f"best labelled {LABELS.max():.4f}" in said
    assert "#3" not in said  # neither predicted nor measured
    assert [t.get_text() for t in given_ax.get_legend().get_texts()] == ["built: predicted", "built: measured"]


def test_the_best_retrained_has_its_own_line() -> None:
    ax = plot.built(BUILT, LABELS, retrained=0.66)
    assert 0.66 in [line.get_xdata()[0] for line in ax.lines]
    assert "best, retrained 0.6600" in [t.get_text() for t in ax.texts]
    assert [t.get_text() for t in ax.get_legend().get_texts()] == ["built: predicted"]


@pytest.mark.parametrize("count", [1, 5, 10, 60])
@pytest.mark.parametrize(("low", "high"), [(0.7, 0.9), (0.1, 0.9), (-0.5, 0.0), (0.5, 0.5001)])
def test_no_texts_overlap(count: int, low: float, high: float, overlapping) -> None:
    frame = pd.DataFrame({"rank": range(1, count + 1), "predicted": np.linspace(high, low, count)})
    assert overlapping(plot.built(frame, LABELS, retrained=0.68).figure) == []


def test_built_without_numbers() -> None:
    nothing = BUILT.assign(predicted=np.nan)
    assert len(plot.built(nothing, LABELS).patches) > 3
    assert len(plot.built(BUILT.head(0), LABELS).patches) > 3
    assert len(plot.built(BUILT, [0.5] * 30 + [np.nan]).patches) > 0
    assert "nothing to compare" in plot.built(BUILT, [np.nan]).texts[0].get_text()
    with pytest.raises(ConfigError, match="4 measured values were given for 3"):
        plot.built(BUILT, LABELS, measured=[1, 2, 3, 4])


@pytest.mark.parametrize("ending", ["png", "svg", "pdf"])
def test_save_writes_whole_files(tmp_path: Path, ending: str) -> None:
    ax = plot.built(BUILT, LABELS)
    path = plot.save(ax, tmp_path / "new" / f"built.{ending}")
    assert path.read_bytes()[:5] in (b"\x89PNG\r", b"<?xml", b"%PDF-")
    plot.save(ax.figure, path)
    plot.save([ax], path)
    assert [p.name for p in path.parent.iterdir()] == [f"built.{ending}"]


def test_a_failed_save_leaves_the_old_picture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.png"
    ax = plot.built(BUILT, LABELS)
    plot.save(ax, path)
    before = path.read_bytes()

    def full(*args: object, **kwargs: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Figure, "savefig", full)
    with pytest.raises(RunError, match="No space left"):
        plot.save(ax, path)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["a.png"]


def test_save_refuses_what_it_cannot_write(tmp_path: Path) -> None:
    ax = plot.built(BUILT, LABELS)
    with pytest.raises(ConfigError, match=re.escape("a.pgn") + r".*did you mean 'p"):
        plot.save(ax, tmp_path / "a.pgn")
    with pytest.raises(ConfigError, match="nothing to save"):
        plot.save([], tmp_path / "a.png")
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match="cannot be written"):
        plot.save(ax, tmp_path / "file" / "a.png")


def test_notebooks_show_what_is_returned() -> None:
    ax = plot.built(BUILT, LABELS)
    for shown in (ax, ax.figure):
        assert shown._repr_png_().startswith(b"\x89PNG")
    frame = pd.DataFrame({"unit": ["u"], "candidate": ["c"], "score": [1.0], "n_seen": [0]})
    assert plot.top_candidates(frame)._repr_png_().startswith(b"\x89PNG")


def test_matplotlib_is_imported_on_first_use_and_pyplot_never() -> None:
    code = (
        "import sys; from autobuild import plot; assert 'matplotlib' not in sys.modules\n"
        "import pandas as pd\n"
        "ax = plot.history(pd.DataFrame({'epoch': [1], 'loss': [1.], 'regression': [1.], 'ranking': [1.]}))\n"
        "ax._repr_png_(); assert 'matplotlib.pyplot' not in sys.modules\n"
        "import autobuild.plot._history; assert callable(plot.history)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_unknown_figures_are_answered_with_near_names() -> None:
    with pytest.raises(AttributeError, match="did you mean 'learning_curve'"):
        plot.lerning_curve
    assert set(plot.__all__) <= set(dir(plot))
    assert all(callable(getattr(plot, name)) for name in plot.__all__)
