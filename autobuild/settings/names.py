"""Names that settings choose from, by what they choose."""

from __future__ import annotations

from statistics import NormalDist

BOUNDS = ("predicted", "lower", "upper")  # what ranks built networks
DESIGNS = ("depth", "uniform", "cover", "stratified", "guided")  # how architectures are drawn to be labelled
DEVICES = ("cpu", "cuda")
EXPORTS = ("json", "onnx", "pt")
FORMATS = (
    "nas_bench_macro",
    "accel_nasbench",
    "nas_bench_201",
    "autobuild_cache",
    "naslib",
    "help",
    "nas_bench_graph",
    "quant_cache",
    "table",
)  # of label files
GRAINS = ("layer", "unit")  # parameters of a study
LEVELS = ("layer", "unit", "candidate")  # of mutations
PARTITIONERS = ("exact", "interval", "random", "local", "nsga2")  # how fusion groups are found
PRUNERS = ("none", "asha", "hyperband", "median")
REGRESSIONS = ("mse", "huber")  # losses of the regression head
ACQUISITION = "upper"  # which networks a round evaluates, unless another is asked for
INTERVAL_LEVEL = 0.9  # share of true values inside intervals, where no other level is asked for
INTERVAL_SDS = NormalDist().inv_cdf((1 + INTERVAL_LEVEL) / 2)  # half-width of such an interval, in standard deviations
SCHEMES = ("mixed", "lbdf", "brr")  # how a fusion group is computed
