"""Run one evaluation; the workers of all executors use it."""

from __future__ import annotations

import sys
import traceback
from typing import TYPE_CHECKING

from autobuild.errors import AutobuildError, EvaluationError, Pruned
from autobuild.evaluate.evaluator import SteppedEvaluator
from autobuild.evaluate.executors.events import Failed, Finished, Stopped
from autobuild.evaluate.metrics import UnusableMetrics, checked_metrics

if TYPE_CHECKING:
    from autobuild.evaluate.evaluator import Evaluator, Report
    from autobuild.spaces import SearchSpace


def perform(
    task_id: int, space: SearchSpace, evaluator: Evaluator, arch: str, seed: int, report: Report | None
) -> Finished | Failed | Stopped:
    """Evaluate once and return an event, whatever the evaluator raises.

    Args:
        task_id: Number of the evaluation.
        space: The space of ``arch``.
        evaluator: Called as ``evaluator(space, arch, seed)``, or its ``steps`` with ``report``.
        arch: Canonical text.
        seed: Seed of the evaluation.
        report: Receives intermediate metrics, and raises :class:`autobuild.errors.Pruned` if the evaluation is pruned.
            None: intermediate metrics are not needed.
    """
    try:
        if report is not None and isinstance(evaluator, SteppedEvaluator):
            metrics = evaluator.steps(space, arch, seed, report)
        else:
            metrics = evaluator(space, arch, seed)
        checked = checked_metrics(metrics)
        return Finished(task_id, dict(checked), checked.ignored)
    except Pruned:
        return Stopped(task_id)
    except UnusableMetrics as error:
        return Failed(task_id, str(error), metrics=error.metrics)
    except EvaluationError as error:
        return Failed(task_id, str(error), retry=error.retry)
    except AutobuildError as error:
        return Failed(task_id, str(error))
    except (Exception, SystemExit) as error:  # SystemExit: an evaluator written as a program
        if _prunes(error):
            return Stopped(task_id)
        where = traceback.extract_tb(error.__traceback__)[-1]
        return Failed(task_id, f"{type(error).__name__}: {error} ({where.name}, line {where.lineno})")


def _prunes(error: BaseException) -> bool:
    """Whether it is ``optuna.TrialPruned``, which evaluators written for Optuna raise; Optuna is loaded then."""
    optuna = sys.modules.get("optuna.exceptions")
    return optuna is not None and isinstance(error, optuna.TrialPruned)
