"""Tables of NAS-Bench-201."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from autobuild.errors import LabelError
from autobuild.labels import LabelledSet
from autobuild.labels.importers import read_any
from autobuild.labels.importers._nas_bench_201 import EXAMPLE, cell_problem
from autobuild.spaces import sequence_space

ONE_EDGE = "|none~0|"


@pytest.fixture(scope="module")
def plain_cells():
    """A space that takes two cells as they are: the table is under test here, not the space."""
    other = EXAMPLE.replace("none", "avg_pool_3x3")
    return sequence_space("nas_bench_201", {"cell": 1}, {"ops": [EXAMPLE, other]}, text="{ops}", unit_separator="@")


@pytest.mark.parametrize("column", ["cellstr", "arch"])
@pytest.mark.parametrize("ending", [".csv", ".parquet", ".jsonl"])
def test_both_names_in_every_form(tmp_path: Path, plain_cells, column: str, ending: str) -> None:
    frame = pd.DataFrame({"acc": [93.5, 91.0], column: [EXAMPLE, EXAMPLE.replace("none", "avg_pool_3x3")]})
    path = tmp_path / f"cells{ending}"
    match ending:
        case ".csv":
            frame.to_csv(path, index=False)
        case ".parquet":
            frame.to_parquet(path, index=False)
        case _:
            frame.to_json(path, orient="records", lines=True)
    for form in ("auto", "nas_bench_201"):
        labels = LabelledSet.read(path, plain_cells, format=form)
        assert list(labels.frame["arch"]) == list(frame[column])
        assert list(labels.frame["acc"]) == [93.5, 91.0]


def test_of_two_columns_of_cells_the_one_called_arch_is_read(tmp_path: Path, plain_cells) -> None:
    path = tmp_path / "t.csv"
    path.write_text(f"arch,cellstr,acc\n{EXAMPLE},{EXAMPLE},1\n")
    labels = LabelledSet.read(path, plain_cells)
    assert labels.metrics == ["acc"]
    assert labels.notes == ["no metric, left out: cellstr (text)"]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("|none~0|+|none~0|none~1|", "2 nodes joined by '+', a cell has 3"),
        ("|none~0|+|none~0|none~1|+|none~0|none~2|", "node 3 lacks its edge from node 1"),
        ("|none~0|+|none~1|+|none~0|none~1|none~2|", "node 2 lacks its edge from node 0"),
        ("|none~0|+|none~1|none~0|+|none~0|none~1|none~2|", "node 2 has edges from [1, 0]"),
        ("|none~0|+|none~0|none~1|none~1|+|none~0|none~1|none~2|", "node 2 has edges from [0, 1, 1]"),
        ("|none|+|none~0|none~1|+|none~0|none~1|none~2|", "node 1: 'none' is no edge"),
        ("none~0+|none~0|none~1|+|none~0|none~1|none~2|", "stand between bars"),
        ("", "1 nodes"),
    ],
)
def test_what_is_wrong_with_a_cell_is_told(text: str, reason: str) -> None:
    assert reason in str(cell_problem(text))
    assert cell_problem(EXAMPLE) is None


def test_missing_edges_are_listed_with_their_rows(tmp_path: Path, plain_cells) -> None:
    path = tmp_path / "t.csv"
    path.write_text(f"cellstr,acc\n{EXAMPLE},1\n{EXAMPLE.replace('|none~0|', '|')},2\n,3\n")
    with pytest.raises(LabelError) as caught:
        LabelledSet.read(path, plain_cells, format="nas_bench_201")
    told = str(caught.value)
    assert "2 of 3 rows" in told
    assert "line 3" in told
    assert "node 2 lacks its edge from node 0" in told
    assert "line 4" in told
    with pytest.raises(LabelError, match="node 2 lacks its edge from node 0"):  # told by the content, too
        LabelledSet.read(path, plain_cells)
    assert read_any(path).space == "nas_bench_201"
    assert read_any(path, "nas_bench_201").space == "nas_bench_201"


def test_cells_of_another_size_are_left_to_their_space(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("arch,acc\n|none~0|+|none~0|none~1|,1\n")
    assert read_any(path).bad == {}
    assert read_any(path).space is None
