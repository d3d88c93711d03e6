"""Keys that several jobs share."""

from __future__ import annotations

from dataclasses import dataclass

from autobuild.settings.encoder import EncoderConfig
from autobuild.settings.names import DESIGNS
from autobuild.settings.option import group, nested, option
from autobuild.settings.training import TrainingKeys


@dataclass
class LabelKeys:
    """The labels that a job reads."""

    space: str = option(
        "tiny_mbconv",
        "search space: a name from `autobuild spaces`, your own YAML file, or package.module:Class",
        kind="name",
    )
    labels: str | None = option(
        None,
        "labelled architectures: a table (CSV, Parquet, JSON, Excel..., packed or not) with a column "
        "arch, or a published data set's own file or folder (null: the set embedded with the space)",
        kind="path",
    )
    target: str = option("acc", "what to maximise: an expression over metric columns, e.g. 100*acc - 2*log(latency_ms)")
    n: int | None = option(
        None,
        "use only the first n rows (of an archive: members, sorted by name): no step sees any other label (null: all)",
        ">=1",
    )
    filter: str | None = option(
        None,
        "rows of the labels that are used, as limits on their metrics, e.g. 'acc > 0 and latency_ms < 900' (null: all)",
    )
    hardware: str | None = option(
        None,
        "what cost terms and limits such as dram_bytes are computed for: a preset of `autobuild cost`, or"
        " your own YAML file (null: edge_npu, or what a saved model says)",
        kind="name",
    )


@dataclass
class FitKeys:
    """How a model is fitted."""

    encoder: str = group(EncoderConfig.layer)
    ranking: str = group("srcc")
    model: str = option(
        "auto",
        "family of the model: gp, linear, trees, graph; auto: an ensemble of them, weighted by cross-validation; or "
        "the folder model/ of another run, with its space, target and training rows",
    )
    folds: int | None = option(
        None,
        "folds of the cross-validation that measures the accuracy of the model (null: 5, from 1,500 rows on 3; "
        "model=graph: one held-out part, fit.holdout)",
        ">=2 <=100",
    )
    equal: str = option(
        "auto",
        "networks with equal targets: those that compute the same function (accuracy), or only those that execute "
        "the same operations (latency); auto: decided from the labels and the names of the metrics",
        choices=("auto", "function", "execution"),
    )
    sources: str | list[str] | None = option(
        None,
        "further knowledge, one or a list: an expression over other columns of the labels, another table "
        "with a column of the target, or FILE:expression; those that do not help are dropped",
        kind="texts",
    )
    features: str | list[str] | None = option(
        None,
        "numbers known without training, one or a list: columns of the labels, or package.module:function, which takes "
        "a list of architectures",
        kind="texts",
    )
    test: str | None = option(
        None,
        "labels that only test the fitted model: a file, or `rest` for the rows after the first n",
        kind="path",
    )
    fit: TrainingKeys = nested(TrainingKeys)


@dataclass
class ExplainKeys:
    """How candidates are scored."""

    scorer: str = option(
        "auto",
        "how candidates are scored: additive (auto): scores that add up to the prediction; hopnorm: the scorer of the "
        "AutoBuild paper, with model=graph",
        kind="name",
    )


@dataclass
class ExecutorKeys:
    """What evaluates networks, and where."""

    executor: str = group("local")
    evaluator: str = option(
        "train",
        "what measures a network: train (the space's own training), latency, train+latency, table:FILE, "
        "surrogate:MODEL_FOLDER, python:package.module:function or 'command:PROGRAM ARGUMENTS' (JSON in, "
        "JSON out)",
    )
    n_jobs: int = option(
        2,
        "evaluations at the same time: processes here, tasks asked of Ray, or jobs in Slurm's queue",
        ">=1",
        former=("workers", "verify.workers"),
    )
    time_limit_s: float | None = option(
        None,
        "seconds that one evaluation may take (not with executor=inline); a longer one is stopped and counts as failed",
        ">0",
        former=("time_limit",),
    )
    retries: int = option(1, "how often an evaluation whose worker was killed is tried again", ">=0 <=100")


@dataclass
class DesignKeys:
    """How architectures are drawn."""

    design: str = option(
        "depth",
        "how they are drawn: every depth of a unit equally likely, every architecture equally likely, every value "
        "of each feature covered, evenly over the range of a cost, or near the best that estimates know under limits "
        "on a cost",
        choices=DESIGNS,
    )
    cover: int = option(3, "with design=cover, in how many architectures each value is seen at least", ">=1")
    by: str | None = option(None, "with design=stratified and guided, the cost: avg_bits, params, ...", kind="name")
    by_least: float | None = option(None, "with design=guided, the least limit on by (null: the least of the space)")
    by_most: float | None = option(None, "with design=guided, the largest limit on by (null: the largest of the space)")
    estimates: str | list[str] | None = option(
        None,
        "with design=guided, the costs that are minimised, one or a list (null: those of quant_error, first_order, "
        "fisher and output_error that the space has)",
        kind="texts",
    )


@dataclass
class SeedKeys:
    """The seeds of trainings that give labels."""

    seeds: str = option(
        "1",
        "how many trainings of each network, with the seeds 0, 1, ..., or a list of seeds: [3,5]; a label"
        " is the mean over them",
        kind="name",
    )


@dataclass
class FreshSeedKeys:
    """The seeds of trainings that compare networks."""

    seeds: str = option(
        "2",
        "how many trainings of each network, with seeds that no label has used, or a list of seeds: [3,5]",
        kind="name",
        former=("verify.seeds",),
    )


@dataclass
class ShapesKeys:
    """Shapes of an ONNX file."""

    shapes: str | None = option(
        None, "shapes of an ONNX file's inputs that it leaves open, such as 'x: 1x3x224x224, mask: 1x77'"
    )


@dataclass
class RunKeys:
    """Where the results go."""

    out: str | None = option(None, "folder for the results (null: runs/<job>/<time>)", kind="path")
    resume: bool = option(
        True, "continue the newest unfinished run of the same settings and inputs; false: start from the beginning"
    )
    seed: int = option(0, "the same seed gives the same numbers on the same machine", ">=0 <=4294967295")
    threads: int | None = option(
        None, "threads that torch uses (null: one for models, whose tensors are small)", ">=1 <=1024"
    )
