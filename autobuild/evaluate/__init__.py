"""Evaluators: training a network for real, measuring its latency, and labelling many in parallel."""

from autobuild.evaluate.digits import DigitTask, Pictures, digit_pictures
from autobuild.evaluate.labelling import Progress, label_architectures
from autobuild.evaluate.latency import LatencyMeter, measure_latency
from autobuild.evaluate.parallel import Place, Result, evaluate_many
from autobuild.evaluate.protocol import EVALUATORS, Evaluator, NetworkEvaluator, evaluator_for
from autobuild.evaluate.training import TrainingEvaluator

__all__ = [
    "EVALUATORS",
    "DigitTask",
    "Evaluator",
    "LatencyMeter",
    "NetworkEvaluator",
    "Pictures",
    "Place",
    "Progress",
    "Result",
    "TrainingEvaluator",
    "digit_pictures",
    "evaluate_many",
    "evaluator_for",
    "label_architectures",
    "measure_latency",
]
