"""Evaluators, which measure or look up the labels of architectures, and executors, which run evaluations."""

from __future__ import annotations

from typing import TYPE_CHECKING

from autobuild._lazy import attach

if TYPE_CHECKING:
    from autobuild.evaluate._resolve import as_evaluator
    from autobuild.evaluate._tabular_and_surrogate import TableEvaluator
    from autobuild.evaluate.digits import DigitTask, Pictures, digit_pictures
    from autobuild.evaluate.evaluator import (
        EVALUATORS,
        Evaluator,
        NetworkEvaluator,
        Report,
        SteppedEvaluator,
        evaluator_for,
    )
    from autobuild.evaluate.labelling import Progress, label_architectures
    from autobuild.evaluate.latency import LatencyMeter, measure_latency
    from autobuild.evaluate.metrics import EvaluationWarning
    from autobuild.evaluate.parallel import ExecutorSettings, Result, choose_executor, evaluate_many, seeds_of
    from autobuild.evaluate.training import TrainingEvaluator

# Where each name is defined. It is imported on first use, so that processes that evaluate start without pandas.
_FROM = {
    "DigitTask": "digits",
    "EVALUATORS": "evaluator",
    "EvaluationWarning": "metrics",
    "Evaluator": "evaluator",
    "ExecutorSettings": "parallel",
    "LatencyMeter": "latency",
    "NetworkEvaluator": "evaluator",
    "Pictures": "digits",
    "Progress": "labelling",
    "Report": "evaluator",
    "Result": "parallel",
    "SteppedEvaluator": "evaluator",
    "TableEvaluator": "_tabular_and_surrogate",
    "TrainingEvaluator": "training",
    "as_evaluator": "_resolve",
    "choose_executor": "parallel",
    "digit_pictures": "digits",
    "evaluate_many": "parallel",
    "evaluator_for": "evaluator",
    "label_architectures": "labelling",
    "measure_latency": "latency",
    "seeds_of": "parallel",
}
__getattr__, __dir__ = attach(__name__, _FROM)

__all__ = [
    "EVALUATORS",
    "DigitTask",
    "EvaluationWarning",
    "Evaluator",
    "LatencyMeter",
    "NetworkEvaluator",
    "Pictures",
    "ExecutorSettings",
    "Progress",
    "Report",
    "Result",
    "SteppedEvaluator",
    "TableEvaluator",
    "TrainingEvaluator",
    "as_evaluator",
    "digit_pictures",
    "evaluate_many",
    "evaluator_for",
    "label_architectures",
    "measure_latency",
    "choose_executor",
    "seeds_of",
]
