"""Predictors: Gaussian processes, trees and graph encoders, fitted on labelled architectures."""

from autobuild.models.config import FitConfig
from autobuild.models.cost_terms import CostedModel
from autobuild.models.curve import learning_curve
from autobuild.models.describe import Describer, Description
from autobuild.models.ensemble import EnsembleModel
from autobuild.models.fitting import FAMILIES, fit, unwarned
from autobuild.models.graph_fit import evaluation, fit_graph
from autobuild.models.graph_model import GraphModel, conformal_half_width
from autobuild.models.model import FittedModel
from autobuild.models.network import Predictor
from autobuild.models.store import load_model, save_model
from autobuild.models.training import train

__all__ = [
    "CostedModel",
    "FAMILIES",
    "Describer",
    "Description",
    "EnsembleModel",
    "FitConfig",
    "FittedModel",
    "GraphModel",
    "Predictor",
    "conformal_half_width",
    "evaluation",
    "fit",
    "fit_graph",
    "learning_curve",
    "load_model",
    "save_model",
    "train",
    "unwarned",
]
