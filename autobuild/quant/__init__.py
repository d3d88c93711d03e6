"""Quantised weights: uniform and k-means quantisers, models quantised in place, and their search spaces."""

from autobuild.quant.apply import Quantised, load_quantised, quantise, weight_layers
from autobuild.quant.cache import VariantCache
from autobuild.quant.clustering import kmeans
from autobuild.quant.folding import folded
from autobuild.quant.joint import joint_config, joint_space, quantised_network
from autobuild.quant.space import arch_of, choice_table, config_of, quant_space
from autobuild.quant.weights import BITS, METHODS, Choice, QuantisedWeight, quantise_weight

__all__ = [
    "BITS",
    "METHODS",
    "Choice",
    "Quantised",
    "QuantisedWeight",
    "VariantCache",
    "arch_of",
    "choice_table",
    "config_of",
    "folded",
    "joint_config",
    "joint_space",
    "kmeans",
    "load_quantised",
    "quant_space",
    "quantise",
    "quantise_weight",
    "quantised_network",
    "weight_layers",
]
