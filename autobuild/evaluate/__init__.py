"""Evaluators, which measure or look up the labels of architectures, and executors, which run evaluations."""

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
