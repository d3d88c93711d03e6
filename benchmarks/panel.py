"""A stand-in for the truth where only some rows have labels: five predictors that saw all of them.

python -m benchmarks.panel      how well such a panel predicts networks better than all it was fitted on

It is a proxy, not the truth: it shares the leanings of its members, some of which are baselines. Linear members alone
promise too much beyond the best labels, trees too little; that is why members of both kinds are in it, on one-hot
columns and on knowledge-rich ones.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from autobuild.rank import srcc
from autobuild.spaces import Architecture
from benchmarks.baselines import Fitter, boosted_trees, gaussian_process, ridge
from benchmarks.columns import Columns

Floats = NDArray[np.float64]

MEMBERS: dict[str, tuple[str, Fitter]] = {
    "ridge, products": ("products", ridge),
    "GP": ("one-hot", gaussian_process),
    "XGBoost": ("one-hot", boosted_trees),
    "GP + knowledge": ("knowledge", gaussian_process),
    "XGBoost + knowledge": ("knowledge", boosted_trees),
}


class Panel:
    """The mean of several predictors.

    Args:
        columns: Makes columns of architectures.
        archs: Labelled architectures, ``n``.
        values: Their target. Shape ``(n,)``.
    """

    def __init__(self, columns: Columns, archs: Sequence[Architecture], values: Floats) -> None:
        self.columns = columns
        given = self._columns(archs)
        self._members = {name: (kind, fit(given[kind], values, 0)) for name, (kind, fit) in MEMBERS.items()}

    def members(self, archs: Sequence[Architecture]) -> dict[str, Floats]:
        """What every member predicts. Shapes ``(n,)``."""
        given = self._columns(archs)
        return {name: predict(given[kind]) for name, (kind, predict) in self._members.items()}

    def predict(self, archs: Sequence[Architecture]) -> Floats:
        """The members' mean prediction. Shape ``(n,)``."""
        mean: Floats = np.mean(list(self.members(archs).values()), axis=0)
        return mean

    def _columns(self, archs: Sequence[Architecture]) -> dict[str, Floats]:
        one_hot = self.columns.one_hot(archs)
        products = _with_products(one_hot, self.columns.widths)
        return {"one-hot": one_hot, "products": products, "knowledge": self.columns.knowledge(archs)}


def _with_products(x: Floats, widths: Sequence[int]) -> Floats:
    """One-hot columns, and the product of every two of a stage."""
    parts, at = [x], 0
    for width in widths:
        own = x[:, at : at + width]
        left, right = np.triu_indices(width, 1)
        parts.append(own[:, left] * own[:, right])
        at += width
    return np.concatenate(parts, axis=1)


def beyond(columns: Columns, archs: Sequence[Architecture], values: Floats, share: float) -> pd.DataFrame:
    """Fit on all but the best ``share`` of the rows, predict these: SRCC, mean error and root mean square error."""
    best = values >= np.quantile(values, 1 - share)
    panel = Panel(columns, [arch for arch, out in zip(archs, best, strict=True) if not out], values[~best])
    found = panel.members([arch for arch, out in zip(archs, best, strict=True) if out])
    found["panel"] = np.mean(list(found.values()), axis=0)
    truth = values[best]
    rows = [
        (
            name,
            srcc(predicted, truth),
            float((predicted - truth).mean()),
            float(((predicted - truth) ** 2).mean() ** 0.5),
        )
        for name, predicted in found.items()
    ]
    return pd.DataFrame(rows, columns=["member", "SRCC", "mean error", "root mean square error"])


def main() -> None:
    """Print the check for both OFA sets."""
    from benchmarks.cells import problem
    from benchmarks.report import markdown

    for data in ("mbv3", "proxyless"):
        own = problem(data, "acc")
        print(f"\n{data}, acc: fitted on the worse nine tenths of 3,000 rows, judged on the best tenth")
        print(markdown(beyond(own.columns, own.archs, own.values, 0.1)))


if __name__ == "__main__":
    main()
