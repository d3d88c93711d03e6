"""Predictors: Gaussian processes, trees and graph encoders, fitted on labelled architectures."""

from autobuild.models.config import FitConfig
from autobuild.models.cost_terms import CostedModel
from autobuild.models.curve import learning_curve
from autobuild.models.describe import Describer, Description
from autobuild.models.ensemble import EnsembleModel
from autobuild.models.fitting import fit, fit_again, unwarned
from autobuild.models.graph_fit import evaluation, fit_graph
from autobuild.models.graph_model import GraphModel, conformal_half_width
from autobuild.models.members import Inputs, Member, register_family
from autobuild.models.model import FittedModel
from autobuild.models.network import Predictor
from autobuild.models.store import load_model, save_model
from autobuild.models.training import train
from autobuild.registry import FAMILIES

__all__ = [
    "FAMILIES",
    "CostedModel",
    "Describer",
    "Description",
    "EnsembleModel",
    "FitConfig",
    "FittedModel",
    "GraphModel",
    "Inputs",
    "Member",
    "Predictor",
    "conformal_half_width",
    "evaluation",
    "fit",
    "fit_again",
    "fit_graph",
    "learning_curve",
    "load_model",
    "register_family",
    "save_model",
    "train",
    "unwarned",
]
