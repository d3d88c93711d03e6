"""Fitting predictors on labelled architectures."""

from autobuild.fit.config import FitConfig
from autobuild.fit.costed import CostedModel
from autobuild.fit.curve import learning_curve
from autobuild.fit.describe import Describer, Description
from autobuild.fit.ensemble import EnsembleModel
from autobuild.fit.fitting import FAMILIES, fit
from autobuild.fit.graph_fit import evaluation, fit_graph
from autobuild.fit.graph_model import GraphModel
from autobuild.fit.intervals import conformal_half_width
from autobuild.fit.model import FittedModel
from autobuild.fit.network import Predictor
from autobuild.fit.store import load_model, save_model
from autobuild.fit.training import train

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
]
