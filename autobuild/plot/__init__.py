"""Figures: every function takes an optional ``ax``, draws into it and returns it; without one it makes a new figure.

New figures are plain objects on the Agg canvas: pyplot keeps no reference to them, and Jupyter shows what is returned.
matplotlib is imported on first use.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from autobuild._lazy import attach

if TYPE_CHECKING:
    from autobuild.plot._architecture import architecture
    from autobuild.plot._best_label import best_label
    from autobuild.plot._bit_sensitivity import bit_sensitivity
    from autobuild.plot._buffer_sweep import buffer_sweep
    from autobuild.plot._built import built
    from autobuild.plot._comparison import comparison
    from autobuild.plot._effect_map import effect_map
    from autobuild.plot._feature_scores import feature_scores
    from autobuild.plot._fusion_groups import fusion_groups
    from autobuild.plot._fusion_traffic import fusion_traffic
    from autobuild.plot._history import history
    from autobuild.plot._hop_correlation import hop_correlation
    from autobuild.plot._interactions import interactions
    from autobuild.plot._learning_curve import learning_curve, learning_hint
    from autobuild.plot._pareto_front import pareto_front
    from autobuild.plot._predicted_vs_measured import predicted_vs_measured
    from autobuild.plot._search_chain import search_chain
    from autobuild.plot._search_front import search_front
    from autobuild.plot._search_history import search_history, search_hypervolume
    from autobuild.plot._space import space
    from autobuild.plot._style import save, style
    from autobuild.plot._top_candidates import top_candidates
    from autobuild.plot._waterfall import waterfall

__all__ = [
    "architecture",
    "best_label",
    "bit_sensitivity",
    "buffer_sweep",
    "built",
    "comparison",
    "effect_map",
    "feature_scores",
    "fusion_groups",
    "fusion_traffic",
    "history",
    "hop_correlation",
    "interactions",
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
    "style",
    "top_candidates",
    "waterfall",
]

_ELSEWHERE = {
    "learning_hint": "_learning_curve",
    "save": "_style",
    "style": "_style",
    "search_hypervolume": "_search_history",
}

__getattr__, __dir__ = attach(__name__, {name: f"_{name}" for name in __all__} | _ELSEWHERE)
