"""Figures: every function takes an optional ``ax``, draws into it and returns it; without one it makes its own figure.

Own figures are plain objects on the Agg canvas: pyplot keeps no reference to them, and Jupyter shows what is returned.
matplotlib is imported on first use.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from autobuild._lazy import attach

if TYPE_CHECKING:
    from autobuild.plot.best_curve import best_label
    from autobuild.plot.candidate_bars import top_candidates
    from autobuild.plot.drawing import architecture
    from autobuild.plot.feature_bars import feature_scores
    from autobuild.plot.fit_history import history
    from autobuild.plot.fusion_bars import fusion_traffic
    from autobuild.plot.fusion_map import fusion_groups
    from autobuild.plot.fusion_sweep import buffer_sweep
    from autobuild.plot.hop_bars import hop_correlation
    from autobuild.plot.labels_curve import learning_curve, learning_hint
    from autobuild.plot.narrowing_chain import search_chain
    from autobuild.plot.outcome import built
    from autobuild.plot.pareto import pareto_front
    from autobuild.plot.scatter import predicted_vs_measured
    from autobuild.plot.search_curve import search_history, search_hypervolume
    from autobuild.plot.search_fronts import search_front
    from autobuild.plot.space_map import space
    from autobuild.plot.style import save

# No figure is named as its module is: importing a module must not hide the function.
_FROM = {
    "architecture": "drawing",
    "best_label": "best_curve",
    "buffer_sweep": "fusion_sweep",
    "built": "outcome",
    "feature_scores": "feature_bars",
    "fusion_groups": "fusion_map",
    "fusion_traffic": "fusion_bars",
    "history": "fit_history",
    "hop_correlation": "hop_bars",
    "learning_curve": "labels_curve",
    "learning_hint": "labels_curve",
    "pareto_front": "pareto",
    "predicted_vs_measured": "scatter",
    "save": "style",
    "search_chain": "narrowing_chain",
    "search_front": "search_fronts",
    "search_history": "search_curve",
    "search_hypervolume": "search_curve",
    "space": "space_map",
    "top_candidates": "candidate_bars",
}

__all__ = [
    "architecture",
    "best_label",
    "buffer_sweep",
    "built",
    "feature_scores",
    "fusion_groups",
    "fusion_traffic",
    "history",
    "hop_correlation",
    "learning_curve",
    "learning_hint",
    "pareto_front",
    "predicted_vs_measured",
    "save",
    "search_chain",
    "search_front",
    "search_history",
    "search_hypervolume",
    "space",
    "top_candidates",
]


__getattr__, __dir__ = attach(__name__, _FROM)
