"""The digits example: the distance by an independent formula, the shipped weights, the job, and published caches."""

import json
import pickle
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import scipy.linalg

import autobuild as ab
from autobuild.cli import main
from autobuild.errors import ConfigError
from autobuild.evaluate.digits_diffusion import DigitsDiffusionEvaluator, frechet_distance
from autobuild.evaluate.evaluator import evaluator_for
from autobuild.jobs._pipeline import label_source
from autobuild.labels.importers import read_any
from autobuild.labels.label_files import EMBEDDED
from autobuild.quant import load_quantised
from autobuild.quant.digits.networks import WEIGHTS, load_digits_network


def test_frechet_distance_by_the_matrix_square_root():
    rng = np.random.default_rng(0)
    first, second = rng.normal(size=(60, 5)), rng.normal(size=(80, 5)) @ rng.normal(size=(5, 5)) + 1
    a, b = np.cov(first, rowvar=False), np.cov(second, rowvar=False)
    root = scipy.linalg.sqrtm(a @ b).real
    expected = ((first.mean(0) - second.mean(0)) ** 2).sum() + np.trace(a + b - 2 * root)
    assert frechet_distance(first, second) == pytest.approx(expected, rel=1e-6)
    assert frechet_distance(first, first) == pytest.approx(0, abs=1e-9)


@pytest.fixture(scope="module")
def space():
    return ab.space("quant:digits_dit(methods=['uaq'], bits=[2, 4])")


def test_fewer_bits_draw_worse_digits(space):
    """The same noise for every configuration, and the model is as before afterwards."""
    evaluate = DigitsDiffusionEvaluator("digits_dit", count=100, steps=4)
    four, two = (evaluate(space, "|".join([f"uaq{bits}"] * len(space.units)), 0) for bits in (4, 2))
    full = evaluate.of_model(load_digits_network("digits_dit"), 0)
    assert full["fid"] < four["fid"] < 0.3 * two["fid"]
    assert full["acc"] > 95
    assert evaluate(space, "|".join(["uaq4"] * len(space.units)), 0) == four
    assert evaluator_for(space) == DigitsDiffusionEvaluator("digits_dit")
    assert all(file.stat().st_size <= 4e6 for file in WEIGHTS.iterdir())


@pytest.mark.parametrize("name", ["digits_dit", "digits_unet"])
def test_embedded_labels_are_distinct_and_ranks_repeat_over_noises(name):
    frame = pd.read_csv(EMBEDDED / f"{name}.csv")
    assert len(frame) == frame["arch"].nunique() >= 300
    seeds = pd.read_csv(EMBEDDED / f"{name}_seeds.csv").pivot(index="arch", columns="seed", values="fid")
    assert len(seeds.dropna()) == 30
    assert seeds.corr("spearman").min(axis=None) > 0.85
    label = frame.set_index("arch")["fid"].reindex(seeds.index)
    assert label.tolist() == seeds[0].tolist()


def test_jobs_find_the_embedded_labels(space):
    assert label_source({"labels": None, "space": "quant:digits_dit"}, space) == "digits_dit"
    with pytest.raises(ConfigError, match="no embedded labels"):  # labels are of the standard methods and bits
        label_source({"labels": None, "space": "quant:digits_dit(bits=[2, 4])"}, space)


def test_an_embedded_label_can_be_measured_again(space):
    row = pd.read_csv(EMBEDDED / "digits_dit.csv").iloc[0]
    model = load_digits_network("digits_dit")
    config = dict(zip([stage.name for stage in space.stages], row["arch"].split("|"), strict=True))
    with ab.quantise(model, config):
        again = DigitsDiffusionEvaluator("digits_dit").of_model(model, 0)
    assert again["fid"] == pytest.approx(row["fid"], rel=0.02)


def test_quantise_job(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["quantise", "model=digits_dit", "config=kmc3", "out=three"]) == 0
    numbers = json.loads(Path("three/metrics.json").read_text())
    assert numbers["avg_bits"] == 3
    size = Path("three/quantised.safetensors").stat().st_size
    assert numbers["file_bytes"] == size > numbers["size_bytes"]
    model = load_digits_network("digits_dit")
    assert load_quantised(model, "three/quantised.safetensors").stored_bits == numbers["stored_bits"]
    assert main(["quantise", "model=digits_dit", "out=none"]) == 2
    assert "config= or built=" in capsys.readouterr().err
    assert main(["quantise", "model=digits_vit", "config=uaq4", "out=none"]) == 2
    assert "did you mean 'digits_dit'" in capsys.readouterr().err


def test_a_published_cache_becomes_a_table(tmp_path):
    sizes = {"blocks.0.q.weight_quantizer": 200, "out.weight_quantizer": 100}
    data = [
        {
            "config": {
                name: [choice, size, size / 4, 0.5] for (name, size), choice in zip(sizes.items(), row, strict=True)
            },
            "quantized_size": 75.0,
            "avg_bits": 3.5,
            "quantized_error": 1.0,
            "FID-GT-1k": fid,
            "bops": 12.0,
        }
        for row, fid in ((("kmeans-4", "mse-3"), 80.5), (("kmeans_all-3", "kmeans-9x"), 90.0))
    ]
    path = tmp_path / "quant_cache.pkl"
    path.write_bytes(pickle.dumps(data, protocol=4))
    for name in ("auto", "quant_cache"):
        table = read_any(path, name)
        assert table.columns["arch"] == ["kmc4|uaq3", ""]
        assert table.columns["FID-GT-1k"] == [80.5, 90.0]
        assert "'kmeans-9x' is not a method and bits" in table.bad[1]
