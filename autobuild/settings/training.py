"""Settings of the training of the graph encoder that the command line has under ``fit``."""

from __future__ import annotations

from dataclasses import dataclass

from autobuild.settings.names import DEVICES, REGRESSIONS
from autobuild.settings.option import option


@dataclass(frozen=True)
class TrainingSettings:
    """Duration, learning rate and regression loss; :class:`autobuild.models.FitConfig` describes them."""

    epochs: int | None = option(None, "passes over the training rows (null: by their number)", ">=1")
    batch_size: int | None = option(None, "architectures a batch (null: by the number of rows)", ">=4")
    lr: float = option(8e-3, "peak learning rate", ">0")
    weight_decay: float = option(1e-3, "decoupled weight decay", ">=0")
    regression: str = option("mse", "loss of the regression head", choices=REGRESSIONS)


@dataclass(frozen=True)
class TrainingKeys(TrainingSettings):
    """The same, and where the training runs."""

    device: str = option("cpu", "where to fit", choices=DEVICES)
    holdout: float = option(
        0.1,
        "share of rows held out for the learning curve, and to judge model=graph (unless folds= is given)",
        ">=0 <1",
        former=("holdout",),
    )
    refit: bool = option(True, "model=graph: fit again on all rows after it was judged")
