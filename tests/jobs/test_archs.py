"""Architectures are read from every format that labels are read from."""

import numpy as np
import pandas as pd
import pytest

import autobuild as ab
from autobuild.errors import ConfigError
from autobuild.jobs._archs import drawn_archs, read_archs


@pytest.mark.parametrize("name", ["a.csv", "a.tsv", "a.csv.gz", "a.feather", "a.xlsx", "a.json", "a.jsonl", "a.txt"])
def test_every_format_of_labels(name, tmp_path):
    space = ab.space("nas_bench_macro")
    texts = [arch.text for arch in space.sample(3, seed=0)]
    frame, path = pd.DataFrame({"arch": texts}), tmp_path / name
    match name.split(".", 1)[1]:
        case "csv" | "csv.gz":
            frame.to_csv(path, index=False)
        case "tsv":
            frame.to_csv(path, index=False, sep="\t")
        case "feather":
            frame.to_feather(path)
        case "xlsx":
            pytest.importorskip("openpyxl")
            frame.to_excel(path, index=False)
        case "json" | "jsonl" as kind:
            frame.to_json(path, orient="records", lines=kind == "jsonl")
        case _:
            path.write_text("\n".join(texts))
    assert [arch.text for arch in read_archs(str(path), space)[1]] == texts


def test_what_is_neither_file_nor_architecture():
    with pytest.raises(ConfigError, match=r"no file ending in .csv, .*\.feather.*, and no architecture"):
        read_archs("x.docx", ab.space("nas_bench_macro"))


def test_stratified_by_a_cost():
    space = ab.space("tiny_mbconv")
    config = {"design": "stratified", "by": "params", "seed": 0, "cover": 3}
    params = np.sort(ab.costs(space)["params"](drawn_archs(config, space, 8)))
    least, most = params[0], params[-1]
    assert np.diff(params).max() < 0.3 * (most - least)
    with pytest.raises(ConfigError, match=r"by=parms: .*did you mean 'params'"):
        drawn_archs(config | {"by": "parms"}, space, 8)
    with pytest.raises(ConfigError, match="by=dram_bytes: dram_bytes is no sum over the units"):
        drawn_archs(config | {"by": "dram_bytes"}, space, 8)


def test_guided_by_known_costs():
    space = ab.space("tiny_mbconv")
    config = {"design": "guided", "by": "macs", "seed": 0, "by_least": None, "by_most": 5e5, "estimates": "params"}
    macs = np.sort(ab.costs(space)["macs"](drawn_archs(config, space, 10)))
    assert (macs <= 5e5).sum() >= 8  # the other two are stratified over the whole range
    with pytest.raises(ConfigError, match="tiny_mbconv has none of the costs quant_error"):
        drawn_archs(config | {"estimates": None}, space, 10)
    with pytest.raises(ConfigError, match=r"estimates=parms: .*did you mean 'params'"):
        drawn_archs(config | {"estimates": ["params", "parms"]}, space, 10)
