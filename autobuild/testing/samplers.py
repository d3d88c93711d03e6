"""Every property that a sampler must have, as a pytest suite."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import optuna
import pytest

import autobuild as ab
from autobuild.spaces import Architecture, SearchSpace, load_space
from autobuild.studies.samplers import ArchitectureSampler

SPACE = "nas_bench_macro"
Make = Callable[[SearchSpace, int], ArchitectureSampler]


class SamplerConformance:
    """Subclass it in a test module and give a fixture ``make``, a function of a space and a seed::

    class TestMySampler(SamplerConformance):
        @pytest.fixture
        def make(self):
            return lambda space, seed: MySampler(space, seed=seed)
    """

    trials = 26

    @pytest.fixture
    def grain(self) -> str:
        """Grain of the parameters, ``"layer"`` or ``"unit"``."""
        return "layer"

    @pytest.fixture
    def space(self) -> SearchSpace:
        """The space that is searched."""
        return load_space(SPACE)

    @pytest.fixture(autouse=True)
    def _quiet(self) -> None:
        optuna.logging.set_verbosity(optuna.logging.WARNING)

    def test_trials_are_new_networks_of_the_space(self, make: Make, space: SearchSpace, grain: str) -> None:
        """Every trial holds the parameters of a network of the space, and no network comes twice."""
        archs, study = _run(make(space, 0), space, self.trials, grain)
        assert all(arch in space for arch in archs)
        assert len({space.key(arch) for arch in archs}) == self.trials
        for trial, arch in zip(study.trials, archs, strict=True):
            assert trial.params == space.params(arch, grain)

    def test_the_last_new_network_is_found(self, make: Make, grain: str) -> None:
        """A space of few networks is used up before one is repeated."""
        space = load_space(SPACE).restrict(
            {"stage1": ["00", "12"], "stage2": ["010", "001", "112"], "stage3": ["100", "101", "110"]}
        )
        everything = {space.key(space.assemble(index)) for index in np.ndindex(2, 3, 3)}
        archs, _ = _run(make(space, 0), space, len(everything) + 3, grain)
        assert {space.key(arch) for arch in archs[: len(everything)]} == everything
        assert all(arch in space for arch in archs)

    def test_a_stopped_search_continues(self, make: Make, space: SearchSpace, grain: str) -> None:
        """A new sampler with the same seed continues a study as the old one would have; another seed differs."""
        whole, _ = _run(make(space, 7), space, self.trials, grain)
        first, study = _run(make(space, 7), space, self.trials // 2, grain)
        study.sampler = make(space, 7)
        second, _ = _run(None, space, self.trials - self.trials // 2, grain, study)
        assert first + second == whole
        assert _run(make(space, 8), space, self.trials, grain)[0] != whole

    def test_workers_with_one_seed_draw_differently(
        self, make: Make, space: SearchSpace, grain: str, tmp_path: Path
    ) -> None:
        """Workers of one study that ask at the same time propose different networks."""
        url = f"sqlite:///{tmp_path}/study.db"
        optuna.create_study(study_name="one", storage=url, direction="maximize")
        workers = [optuna.load_study(study_name="one", storage=url, sampler=make(space, 0)) for _ in range(3)]
        entered = list({space.key(arch): arch for arch in space.sample(60, seed=3)}.values())[:24]
        for arch in entered:
            _enter(workers[0], space, arch, grain)
        keys = [space.key(arch) for arch in entered]
        for _ in range(4):
            asked = [(worker, trial, space.suggest(trial, grain)) for worker in workers for trial in [worker.ask()]]
            keys += [space.key(arch) for _, _, arch in asked]
            for worker, trial, arch in asked:
                worker.tell(trial, _worth(arch))
        assert len(set(keys)) == len(keys)

    def test_limits_are_kept(self, make: Make, space: SearchSpace, grain: str) -> None:
        """A search evaluates no network that breaks a limit over costs."""
        counts = ab.costs(space)["params"]
        bound = float(np.median(counts(space.sample(200, seed=0))))
        study = ab.search(
            space, _metrics, n_trials=12, sampler=make(space, 0), grain=grain, where=f"params <= {bound}", model=None
        )
        assert len(study.trials) == 12
        assert (counts([space.parse(text) for text in study.trials["arch"]]) <= bound).all()


def _worth(arch: Architecture) -> float:
    return float(sum(place * ord(letter) for place, letter in enumerate(arch.text)) % 97)


def _metrics(arch: Architecture) -> dict[str, float]:
    return {"acc": _worth(arch)}


def _enter(study: optuna.Study, space: SearchSpace, arch: Architecture, grain: str) -> None:
    choices = space.choices(arch, grain)
    kinds = {name: optuna.distributions.CategoricalDistribution(values) for name, values in choices.items()}
    trial = optuna.create_trial(params=space.params(arch, grain), distributions=kinds, values=[_worth(arch)])
    study.add_trial(trial)


def _run(
    sampler: ArchitectureSampler | None, space: SearchSpace, count: int, grain: str, study: optuna.Study | None = None
) -> tuple[list[Architecture], optuna.Study]:
    study = study or optuna.create_study(direction="maximize", sampler=sampler)
    archs = []
    for _ in range(count):
        trial = study.ask()
        archs.append(space.suggest(trial, grain))
        study.tell(trial, _worth(archs[-1]))
    return archs, study
