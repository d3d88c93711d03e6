"""Baseline: NSGA-II over partitions (implementation: pymoo)."""

from __future__ import annotations

from typing import Any

import numpy as np

from autobuild.cost.fusion.baselines.edge_encoding import INITIAL_PLANS, random_plans
from autobuild.cost.fusion.baselines.search_run import SearchRun
from autobuild.errors import ConfigError

STALE = 10  # the search ends after this many generations without a new partition


def nsga2(run: SearchRun, seed: int) -> None:
    """NSGA-II (Deb et al., 2002) with two objectives: DRAM bytes and the number of groups.

    An individual holds one bit for each fusible edge. Invalid groups are split, and the individual is replaced by the
    plan of the repaired partition. Operators: two-point crossover (edges are in topological order), and bit-flip
    mutation of one edge on average.

    Raises:
        ConfigError: pymoo is not installed.
    """
    plans = random_plans(run.edges, INITIAL_PLANS, seed)
    if not run.edges.pairs:
        run.evaluate(run.edges.groups([]))
        return
    algorithm = _algorithm(np.array(plans, dtype=bool), seed)
    stale = 0
    while not run.done and stale < STALE:
        population = algorithm.ask()
        if population is None or not len(population):  # every individual that the operators produce is a duplicate
            break
        known = len(run.seen)
        values, repaired = [], []
        for plan in population.get("X"):
            if run.done:
                return
            dram, groups = run.evaluate(run.edges.groups(plan))
            values.append((float(dram), float(len(groups))))
            repaired.append(run.edges.plan(groups))
        population.set("X", np.array(repaired, dtype=bool))
        _evaluate(algorithm, population, np.array(values))
        stale = 0 if len(run.seen) > known else stale + 1


def _algorithm(plans: Any, seed: int) -> Any:
    try:
        from pymoo.algorithms.moo.nsga2 import NSGA2
        from pymoo.core.problem import Problem
        from pymoo.operators.crossover.pntx import TwoPointCrossover
        from pymoo.operators.mutation.bitflip import BitflipMutation
    except ImportError as error:
        raise ConfigError("algorithm=nsga2 needs pymoo: pip install 'autobuild-nas[fusion]'") from error
    size = plans.shape[1]
    algorithm = NSGA2(
        pop_size=len(plans),
        sampling=plans,
        crossover=TwoPointCrossover(),
        mutation=BitflipMutation(prob=1.0, prob_var=1 / size),
    )
    problem = Problem(n_var=size, n_obj=2, xl=0, xu=1, vtype=bool)
    algorithm.setup(problem, termination=("n_gen", 10**9), seed=seed, verbose=False)
    return algorithm


def _evaluate(algorithm: Any, population: Any, values: Any) -> None:
    from pymoo.core.evaluator import Evaluator
    from pymoo.problems.static import StaticProblem

    Evaluator().eval(StaticProblem(algorithm.problem, F=values), population)
    algorithm.tell(infills=population)
