"""Boosted trees as a family of models."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from autobuild._typing import FloatArray
from autobuild.models.kernel import Scaling
from autobuild.models.members import Inputs, Member, Settings
from autobuild.models.trees import Trees, fit_binned_trees, fit_trees, tree_columns
from autobuild.models.warp import Warp
from autobuild.registry import FAMILIES

BINNED_ROWS = 5_000  # with more rows, trees are larger, and their columns are divided into bins
SCALED_ROWS = 20_000
ARRAYS = ("feature", "threshold", "left", "right", "value")


@FAMILIES.register("trees")
@dataclass
class TreesMember(Member):
    """Boosted trees over scaled descriptions.

    Attributes:
        trees: The trees.
        scaling: Standardises descriptions.
        scaled_rows: By how many rows, at most.
    """

    trees: Trees
    scaling: Scaling
    scaled_rows: int

    @classmethod
    def fit(cls, inputs: Inputs, values: FloatArray, warp: Warp, settings: Settings) -> Self:
        """See :meth:`Member.fit`."""
        scaling, latent = _scaling(inputs, SCALED_ROWS), warp.latent(values)
        if len(inputs) <= BINNED_ROWS:
            columns = tree_columns(scaling, inputs.description)
            return cls(fit_trees(columns, latent, settings.seed, settings.on_epoch), scaling, SCALED_ROWS)
        binned, done = np.empty((0, 0), dtype=np.float32), 0
        for part in inputs.chunks():
            block = tree_columns(scaling, part.description)
            if not done:
                binned = np.empty((len(inputs), block.shape[1]), dtype=np.float32)
            binned[done : done + len(part)] = block
            done += len(part)
        return cls(fit_binned_trees(binned, latent, settings.seed), scaling, SCALED_ROWS)

    def predict(self, inputs: Inputs) -> FloatArray:
        """See :meth:`Member.predict`."""
        return self.trees.predict(tree_columns(self.scaling, inputs.description))

    def to_disk(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """See :meth:`Member.to_disk`."""
        tensors = {key: torch.from_numpy(getattr(self.trees, key)) for key in ARRAYS}
        return tensors, {"base": self.trees.base, "depth": self.trees.depth, "scaled_rows": self.scaled_rows}

    @classmethod
    def from_disk(
        cls, tensors: Mapping[str, Tensor], header: Mapping[str, Any], inputs: Inputs, values: FloatArray, warp: Warp
    ) -> Self:
        """See :meth:`Member.from_disk`."""
        arrays = {key: tensors[key].numpy() for key in ARRAYS}
        trees = Trees(**arrays, base=float(header["base"]), depth=int(header["depth"]))
        scaled_rows = int(header.get("scaled_rows", SCALED_ROWS))  # not written by earlier versions
        return cls(trees, _scaling(inputs, scaled_rows), scaled_rows)


def _scaling(inputs: Inputs, most: int) -> Scaling:
    """Standardises descriptions, by some rows if there are very many; it only decides which columns are used."""
    if len(inputs) <= most:
        return inputs.scaling
    return inputs.take(np.linspace(0, len(inputs) - 1, most).astype(np.int64)).scaling
