"""Graph explainers as splitters of invalid fusion groups: an explainer scores operations for a validity classifier.

After Mills et al., "Applying Graph Explanation to Operator Fusion" (arXiv 2501.00636). This is the only part of layer
fusion that needs torch.
"""

from autobuild.cost.fusion.baselines.explainers.explained_split import ExplainedSplitter, rectify_rate
from autobuild.cost.fusion.baselines.explainers.validity_classifier import (
    ValidityClassifier,
    fit_classifier,
    random_groups,
)

__all__ = ["ExplainedSplitter", "ValidityClassifier", "fit_classifier", "random_groups", "rectify_rate"]
