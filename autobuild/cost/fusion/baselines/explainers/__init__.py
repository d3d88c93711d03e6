"""Graph explanation: a classifier of fusion groups, explainers of what makes a group invalid, and splits by them.

After Mills et al., "Applying Graph Explanation to Operator Fusion" (arXiv 2501.00636). The one part of layer fusion
that needs torch.
"""

from autobuild.cost.fusion.baselines.explainers.explained_split import ExplainedSplitter, rectify_rate
from autobuild.cost.fusion.baselines.explainers.validity_classifier import Predictor, fit_predictor, random_groups

__all__ = ["ExplainedSplitter", "Predictor", "fit_predictor", "random_groups", "rectify_rate"]
