"""Fitting predictors on labelled architectures."""

from autobuild.fit.config import FitConfig
from autobuild.fit.curve import learning_curve
from autobuild.fit.fitting import evaluation, fit
from autobuild.fit.intervals import conformal_half_width
from autobuild.fit.model import FittedModel
from autobuild.fit.network import Predictor
from autobuild.fit.store import load_model, save_model
from autobuild.fit.training import train

__all__ = [
    "FitConfig",
    "FittedModel",
    "Predictor",
    "conformal_half_width",
    "evaluation",
    "fit",
    "learning_curve",
    "load_model",
    "save_model",
    "train",
]
