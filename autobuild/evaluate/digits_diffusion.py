"""Evaluate a quantisation of a shipped digit model: the Frechet distance of the digits that it draws to real ones."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from autobuild._typing import FloatArray
from autobuild.errors import EvaluationError
from autobuild.quant import Choice, Quantised, QuantisedWeight, config_of, quantise_weight, weight_layers
from autobuild.quant.digits.networks import CLASSES, SIDE, load_digits_network
from autobuild.quant.digits.train import real_digits

if TYPE_CHECKING:
    from autobuild.spaces import Architecture, SearchSpace


def draw_digits(model: nn.Module, count: int, steps: int, seed: int) -> tuple[Tensor, Tensor]:
    """Draw pictures with a diffusion model: deterministic DDIM steps (Song et al., ICLR 2021) from the seed's noise.

    Args:
        model: A model that predicts ``v`` (:mod:`autobuild.quant.digits.networks`).
        count: Number of pictures; classes take turns.
        steps: Steps from noise to picture.
        seed: Seed of the noise; the same for every quantisation of a model.

    Returns:
        Pictures, about in [-1, 1], shape ``(count, 1, 8, 8)``, and their classes, shape ``(count,)``.
    """
    x = torch.randn((count, 1, SIDE, SIDE), generator=torch.Generator().manual_seed(seed))
    classes = torch.arange(count) % CLASSES
    times = torch.linspace(1, 0, steps + 1) * math.pi / 2
    with torch.inference_mode():
        for now, then in itertools.pairwise(times):
            v = model(x, torch.full((count,), float(now) * 2 / math.pi), classes)
            picture, noise = now.cos() * x - now.sin() * v, now.sin() * x + now.cos() * v
            x = then.cos() * picture + then.sin() * noise
    return x, classes


def frechet_distance(first: FloatArray, second: FloatArray) -> float:
    """Frechet distance of two sets of features as Gaussians (Heusel et al., 2017). Shapes ``(n, d)``, ``(m, d)``."""
    means, covariances = zip(*((x.mean(axis=0), np.cov(x, rowvar=False)) for x in (first, second)), strict=True)
    values, vectors = np.linalg.eigh(covariances[0])
    root = (vectors * np.sqrt(np.maximum(values, 0))) @ vectors.T
    mixed = np.sqrt(np.maximum(np.linalg.eigvalsh(root @ covariances[1] @ root), 0)).sum()
    trace = np.trace(covariances[0]) + np.trace(covariances[1]) - 2 * mixed
    return float(((means[0] - means[1]) ** 2).sum() + trace)


@dataclass(frozen=True)
class DigitsDiffusionEvaluator:
    """Draws digits with a quantised model and compares them with real ones.

    Metrics: ``fid``, the Frechet distance of the features of a small classifier, and ``acc``, the percentage of
    pictures that the classifier takes for the class that was asked for. The seed determines the noise.

    Args:
        model: ``"digits_dit"`` or ``"digits_unet"``.
        count: Number of pictures.
        steps: Steps from noise to picture.
    """

    model: str
    count: int = 500
    steps: int = 10

    metrics = ("fid", "acc")

    def __call__(self, space: SearchSpace, arch: Architecture | str, seed: int) -> dict[str, float]:
        """See :class:`~autobuild.evaluate.evaluator.Evaluator`."""
        weights = {name: _variant(self.model, name, choice) for name, choice in config_of(space, arch).items()}
        with Quantised(_network(self.model), weights, None) as quantised:
            return self.of_model(quantised.model, seed)

    def of_model(self, model: nn.Module, seed: int) -> dict[str, float]:
        """The metrics of any diffusion model of digits, such as the one of full precision.

        Raises:
            EvaluationError: A picture is not finite.
        """
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            pictures, classes = draw_digits(model, self.count, self.steps, seed)
            if not bool(torch.isfinite(pictures).all()):
                raise EvaluationError("the model draws pictures that are not finite")
            with torch.inference_mode():
                classifier = _network("digits_classifier")
                features = classifier.features(pictures)  # type: ignore[operator]
                right = classifier.head(features).argmax(dim=1) == classes  # type: ignore[operator]
        finally:
            torch.set_num_threads(threads)
        distance = frechet_distance(features.double().numpy(), _real_features())
        return {"fid": distance, "acc": 100 * float(right.double().mean())}

    def recipe(self) -> Mapping[str, Any]:
        """Origin of the labels."""
        return {"evaluator": "digits_diffusion", "settings": {"model": self.model, "count": self.count,
                                                              "steps": self.steps}}  # fmt: skip


@lru_cache
def _network(name: str) -> nn.Module:
    """One network for each process: evaluations quantise and restore it."""
    return load_digits_network(name)


@cache
def _variant(model: str, layer: str, choice: Choice) -> QuantisedWeight:
    """A quantised weight of a shipped model, kept: there are few, and they are small."""
    weight = weight_layers(_network(model))[0][layer].weight
    return quantise_weight(weight, choice, name=layer)  # type: ignore[arg-type]


@lru_cache
def _real_features() -> FloatArray:
    with torch.inference_mode():
        features: Tensor = _network("digits_classifier").features(real_digits()[0])  # type: ignore[operator]
    out: FloatArray = features.double().numpy()
    return out
