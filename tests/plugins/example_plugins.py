"""What a user's package may hold: a plug-in of every kind. ``entry_points.txt`` beside it declares them."""

import numpy as np
import torch
from torch import nn

import autobuild as ab
from autobuild.evaluate.executors.inline_executor import InlineExecutor
from autobuild.models import Member
from autobuild.studies.samplers import ArchitectureSampler


def margin_loss(scores, target, *, margin=1.0):
    """Hinge loss on pairs: a network should lead each worse one by ``margin``."""
    above = (target[:, None] > target[None, :]).to(scores.dtype)
    lead = scores[..., :, None] - scores[..., None, :]
    return ((margin - lead).clamp(min=0) * above).sum(dim=(-2, -1)).mean() / above.sum().clamp(min=1)


class MeanLayer(nn.Module):
    """A linear map of a node's embedding, plus one of the mean over the nodes that feed it."""

    def __init__(self, width_in, width_out, heads=1):
        super().__init__()
        self.own, self.others = nn.Linear(width_in, width_out), nn.Linear(width_in, width_out, bias=False)

    def forward(self, h, graphs):
        source, target = graphs.edges
        total = torch.zeros_like(h).index_add(0, target, h[source])
        count = h.new_zeros(len(h)).index_add(0, target, h.new_ones(len(target)))
        return self.own(h) + self.others(total / count.clamp(min=1)[:, None])


class ElitistSampler(ArchitectureSampler):
    """Mutates the best network so far; every ``restart``-th one is random."""

    def __init__(self, space, grain="layer", seed=0, mutation="layer", restart=4):
        super().__init__(space, grain, seed, mutation)
        self.restart = restart

    def draw(self, study, trial, rng):
        known = self.history.complete(study)
        if not known or trial.number % self.restart == 0:
            return self.random(rng)
        best = max(known, key=lambda pair: pair[0].values[0])[1]
        return self.space.mutate(best, rng, self.mutation)


class LoggedExecutor(InlineExecutor):
    """In this process, one at a time; it keeps what was submitted."""

    submitted: list = []

    def submit(self, task_id, arch, seed):
        self.submitted.append(arch)
        super().submit(task_id, arch, seed)


class RidgeMember(Member):
    """Ridge regression on the choices of every stage and numbers of the whole network."""

    def __init__(self, weights, middle):
        self.weights, self.middle = weights, middle

    @staticmethod
    def columns(inputs):
        return np.hstack([*inputs.description.choices, inputs.description.whole])

    @classmethod
    def fit(cls, inputs, values, warp, settings):
        x, y = cls.columns(inputs), warp.latent(values)
        middle = x.mean(axis=0)
        gram = (x - middle).T @ (x - middle) + np.eye(x.shape[1])
        return cls(np.append(np.linalg.solve(gram, (x - middle).T @ (y - y.mean())), y.mean()), middle)

    def predict(self, inputs):
        return (self.columns(inputs) - self.middle) @ self.weights[:-1] + self.weights[-1]

    def to_disk(self):
        return {"weights": torch.from_numpy(self.weights), "middle": torch.from_numpy(self.middle)}, {}

    @classmethod
    def from_disk(cls, tensors, header, inputs, values, warp):
        return cls(tensors["weights"].numpy(), tensors["middle"].numpy())


def alternate(predicted, upper, count):
    """Every other place by prediction, the rest by upper bound."""
    chosen = []
    for values in [predicted, upper] * len(predicted):
        left = [place for place in np.argsort(-values) if place not in chosen]
        if not left or len(chosen) == count:
            return chosen
        chosen.append(left[0])
    return chosen


class TwoStages:
    """A space of two stages."""

    SPACE = ab.sequence_space("two_stages", {"a": [1, 2], "b": 1}, {"k": [1, 3]}, text="k{k}")


NUMBER = 3


def count_of_wide_kernels(arch):
    """An evaluator of milliseconds."""
    return {"acc": float(str(arch).count("k5"))}
