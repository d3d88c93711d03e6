"""Names that settings choose from, by what they choose."""

from __future__ import annotations

BOUNDS = ("predicted", "lower", "upper")  # what ranks built networks
DESIGNS = ("depth", "uniform", "cover")  # how architectures are drawn to be labelled
DEVICES = ("cpu", "cuda")
EXPORTS = ("json", "onnx", "pt")
FORMATS = ("nas_bench_macro", "accel_nasbench", "nas_bench_201", "autobuild_cache", "table")  # of label files
GRAINS = ("layer", "unit")  # parameters of a study
LEVELS = ("layer", "unit", "candidate")  # of mutations
PARTITIONERS = ("exact", "interval", "random", "local", "nsga2")  # how fusion groups are found
PRUNERS = ("none", "asha", "hyperband", "median")
REGRESSIONS = ("mse", "huber")  # losses of the regression head
SCHEMES = ("mixed", "lbdf", "brr")  # how a fusion group is computed
