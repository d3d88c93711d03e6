"""Every property that a scorer owes, as a pytest suite."""

from __future__ import annotations

import numpy as np

from autobuild.importance import Scorer, explain
from autobuild.models import FittedModel, GraphModel


class ScorerConformance:
    """Subclass it in a test module and give the fixtures ``scorer`` and ``model`` (a small fitted model)."""

    def test_scores_every_candidate(self, scorer: Scorer, model: FittedModel) -> None:
        """One finite score for every candidate of every unit, and hops within those of a graph encoder."""
        scored = scorer(model, model.space)
        assert len(scored) == len(model.space.units)
        for unit, own in zip(model.space.units, scored, strict=True):
            assert own.score.shape == own.hops.shape == own.unseen_depth.shape == (unit.size,)
            assert np.isfinite(own.score).all()
            assert own.hops.min() >= 0
            if isinstance(model, GraphModel):
                assert own.hops.max() <= model.hops

    def test_scores_are_repeatable(self, scorer: Scorer, model: FittedModel) -> None:
        """The same model gives the same scores, to the bit."""
        for a, b in zip(scorer(model, model.space), scorer(model, model.space), strict=True):
            assert np.array_equal(a.score, b.score)

    def test_a_narrowed_space_keeps_its_scores(self, scorer: Scorer, model: FittedModel) -> None:
        """A candidate's score does not depend on which others are scored beside it."""
        kept = {unit.name: np.arange(0, unit.size, 3) for unit in model.space.units}
        whole = scorer(model, model.space)
        part = scorer(model, model.space.restrict(dict(kept)))
        for unit, a, b in zip(model.space.units, whole, part, strict=True):
            np.testing.assert_allclose(a.score[kept[unit.name]], b.score, rtol=1e-5, atol=1e-7)

    def test_frames_are_sorted_within_units(self, scorer: Scorer, model: FittedModel) -> None:
        """The candidates' table holds every candidate once, best first."""
        table = explain(model, scorer=scorer).candidates
        assert len(table) == sum(unit.size for unit in model.space.units)
        for _, group in table.groupby("unit"):
            assert group["score"].is_monotonic_decreasing
            assert group["candidate"].is_unique
