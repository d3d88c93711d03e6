"""Boosted trees as a family of models."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import Tensor

from autobuild._typing import FloatArray
from autobuild.models.kernel import Scaling
from autobuild.models.members import Inputs, Member, Settings
from autobuild.models.trees import Trees, fit_trees, tree_columns
from autobuild.models.warp import Warp
from autobuild.registry import FAMILIES

ARRAYS = ("feature", "threshold", "left", "right", "value")


@FAMILIES.register("trees")
@dataclass
class TreesMember(Member):
    """Boosted trees over scaled descriptions."""

    trees: Trees
    scaling: Scaling

    @classmethod
    def fit(cls, inputs: Inputs, values: FloatArray, warp: Warp, settings: Settings) -> Self:
        """See :meth:`Member.fit`."""
        columns = tree_columns(inputs.scaling, inputs.description)
        return cls(fit_trees(columns, warp.latent(values), settings.seed), inputs.scaling)

    def predict(self, inputs: Inputs) -> FloatArray:
        """See :meth:`Member.predict`."""
        return self.trees.predict(tree_columns(self.scaling, inputs.description))

    def to_disk(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """See :meth:`Member.to_disk`."""
        tensors = {key: torch.from_numpy(getattr(self.trees, key)) for key in ARRAYS}
        return tensors, {"base": self.trees.base, "depth": self.trees.depth}

    @classmethod
    def from_disk(
        cls, tensors: Mapping[str, Tensor], header: Mapping[str, Any], inputs: Inputs, values: FloatArray, warp: Warp
    ) -> Self:
        """See :meth:`Member.from_disk`."""
        arrays = {key: tensors[key].numpy() for key in ARRAYS}
        trees = Trees(**arrays, base=float(header["base"]), depth=int(header["depth"]))
        return cls(trees, inputs.scaling)
