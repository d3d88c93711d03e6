"""``autobuild report`` over runs of any job, unfinished, failed and foreign folders; what it shows is text."""

from __future__ import annotations

import json
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from autobuild.cli import main
from autobuild.jobs.run import Run
from autobuild.report import Section, html_page

EVIL = "<script>alert('x')</script>"


class _Tags(HTMLParser):
    """Collects the tags of a page, and checks that they close in order."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        if tag not in ("meta", "link", "img", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def tags(page: str) -> list[str]:
    parser = _Tags()
    parser.feed(page)
    assert not parser.open
    return parser.tags


def test_names_stay_text_and_numbers_sort_by_their_value() -> None:
    frame = pd.DataFrame({EVIL: [EVIL, "b"], "n": [20179, 3], "x": [1 / 3, np.nan]})
    effect = {"effect": [0.5], "lower": [-0.1], "upper": [1.1], "n_seen": [3]}
    places = pd.DataFrame({"unit": [EVIL], "layer": [1], "feature": [EVIL], "value": [EVIL], **effect})
    page = html_page(EVIL, [Section(EVIL, EVIL, EVIL, places, [(EVIL, frame)], [(Path("none.png"), EVIL)], EVIL)])
    assert tags(page).count("script") == 1  # the one that sorts
    assert 'data-value="20179"' in page
    assert ">20,179<" in page
    assert 'title="0.3333333333333333"' in page
    assert "[-0.1, 1.1], seen 3 times" in page
    assert "none.png cannot be read" in page
    assert not re.search(r"(src|href)=\"(?!data:|#)", page)  # nothing is loaded


def test_a_foreign_folder_shows_what_is_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("mine").mkdir()
    pd.DataFrame({"arch": ["0|1"], EVIL: [2.5]}).to_csv("mine/table.csv", index=False)
    Path("mine/broken.csv").write_text("")
    assert main(["report", "out=mine"]) == 0
    page = Path("mine/report.html").read_text()
    assert "there is no run.json" in page
    assert "broken.csv cannot be read as a table" in page
    assert "0|1" in page
    assert "config.yaml is missing" in page
    assert tags(page).count("script") == 1
    Path("mine/run.json").write_text("{torn")
    assert main(["report", "run=mine", "out=page"]) == 0
    assert "run.json cannot be read" in Path("page/report.html").read_text()


def test_an_unfinished_and_a_failed_run_say_so_and_show_the_rest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    def fail() -> None:
        with Run.open("build", {"out": "b", "where": "params < 5", "seed": 3}) as run:
            with run.step("fit"):
                run.record(target="acc", test_srcc=0.9, n_test=50, test_mae=0.1, space="toy")
            run.write_frame("features.csv", pd.DataFrame({"feature": ["k"], "value": [5], "effect": [0.25]}))
            raise ZeroDivisionError(f"division {EVIL}")

    with pytest.raises(ZeroDivisionError):
        fail()
    assert main(["report", "out=b"]) == 0
    page = Path("b/report.html").read_text()
    assert "This run is failed: division &lt;script&gt;" in page
    assert "Finished steps: fit" in page
    assert "0.9 (Spearman)" in page
    assert ">0.2500<" in page
    assert "params &lt; 5" in page
    state = json.loads(Path("b/run.json").read_text())
    Path("b/run.json").write_text(json.dumps({**state, "status": "running", "error": None}))
    assert main(["report", "out=b"]) == 0
    assert "This run is not finished" in Path("b/report.html").read_text()
    Path("b/metrics.json").unlink()
    assert main(["report", "out=b"]) == 0


def test_build_and_spaces_have_a_page(toy: Path) -> None:
    words = ["space=toy.yaml", "labels=labels.csv", "model=linear", "build.top=3", "where=ms <= 8"]
    assert main(["build", *words, "out=b"]) == 0
    page = Path("b/report.html").read_text()
    assert len(page) < 5_000_000
    for text in (
        "90 labelled networks",
        "Effects of choices",
        "the best label within the limits is",
        "From the average network to its prediction",
    ):
        assert text in page, text
    built = pd.read_csv("b/built.csv", dtype={"arch": str})
    assert built["arch"][0] in page
    assert page.count("data:image/png;base64,") >= 6
    choices = pd.read_csv("b/places.csv", dtype=str)[["feature", "value"]].drop_duplicates()
    head = page.split('class="map"')[1].split("</thead>")[0]
    assert head.count('scope="col"') == len(choices)  # a column for each value
    assert "This run is" not in page
    again = page
    shutil.move("b", "moved")
    assert main(["report", "out=moved"]) == 0
    assert Path("moved/report.html").read_text().count("<tr>") == again.count("<tr>")
    assert main(["spaces", "space=toy.yaml", "out=s"]) == 0
    assert main(["report", "out=s"]) == 0
    assert "Other tables and pictures" in Path("s/report.html").read_text()
