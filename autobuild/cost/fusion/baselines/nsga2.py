"""NSGA-II over partitions, by pymoo."""

from __future__ import annotations

from typing import Any

import numpy as np

from autobuild.cost.fusion.baselines.group_splitting import Splitter, split_randomly
from autobuild.cost.fusion.baselines.local_search import INITIAL
from autobuild.cost.fusion.baselines.search_budget import Trial, chance_plans
from autobuild.cost.fusion.deadline import NEVER, Deadline
from autobuild.cost.fusion.partition.partition import GroupCosts, Partition
from autobuild.errors import ConfigError

STALE = 10  # generations without a new partition after which it ends


def nsga2_partition(
    costs: GroupCosts,
    splitter: Splitter = split_randomly,
    budget: int = 5000,
    seed: int = 0,
    time_limit_s: float | Deadline = NEVER,
) -> Partition:
    """NSGA-II (Deb et al., 2002) with DRAM bytes and the number of groups as objectives.

    An individual says of each link whether it is fused. Invalid groups are split, and the individual becomes what the
    split left. Two-point crossover (links are in topological order), one link flipped on average.

    Args:
        costs: The network and the cost of its groups.
        splitter: Names where an invalid group is cut.
        budget: Distinct partitions that are looked at, the initial ones among them.
        seed: Of the initial plans, the operators and the splits; the initial plans are those of the other searches.
        time_limit_s: Seconds after which it ends.

    Raises:
        ConfigError: If pymoo is not installed.
    """
    trial = Trial(costs, splitter, budget, seed, time_limit_s)
    with trial:
        _search(trial, seed)
    return trial.result()


def _search(trial: Trial, seed: int) -> None:
    plans = chance_plans(trial.links, INITIAL, seed)
    if not trial.links.pairs:
        trial.look_at(trial.links.groups([]))
        return
    algorithm = _algorithm(np.array(plans, dtype=bool), seed)
    stale = 0
    while not trial.done and stale < STALE:
        population = algorithm.ask()
        if population is None or not len(population):  # no individual is left that was not there before
            break
        known = len(trial.seen)
        values, repaired = [], []
        for plan in population.get("X"):
            if trial.done:
                return
            dram, groups = trial.look_at(trial.links.groups(plan))
            values.append((float(dram), float(len(groups))))
            repaired.append(trial.links.plan(groups))
        population.set("X", np.array(repaired, dtype=bool))
        _evaluate(algorithm, population, np.array(values))
        stale = 0 if len(trial.seen) > known else stale + 1


def _algorithm(plans: Any, seed: int) -> Any:
    try:
        from pymoo.algorithms.moo.nsga2 import NSGA2
        from pymoo.core.problem import Problem
        from pymoo.operators.crossover.pntx import TwoPointCrossover
        from pymoo.operators.mutation.bitflip import BitflipMutation
    except ImportError as error:
        raise ConfigError("algorithm=nsga2 needs pymoo: pip install 'autobuild[fusion]'") from error
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
