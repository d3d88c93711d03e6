"""Report pages to look at: contrasts of 4.5 to 1 (level AA of WCAG 2.1), columns in order."""

from __future__ import annotations

import re

import pandas as pd
from matplotlib.colors import to_rgb

from autobuild.report import Section, html_page

WHITE = (1.0, 1.0, 1.0)
INK = "#222"


def luminance(colour) -> float:
    parts = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in colour]
    return sum(weight * part for weight, part in zip((0.2126, 0.7152, 0.0722), parts, strict=True))


def contrast(text, behind) -> float:
    low, high = sorted((luminance(text), luminance(behind)))
    return (high + 0.05) / (low + 0.05)


def page() -> str:
    effects = [-9.0, -8.99, -4.0, 0.0, 4.0, 8.99, 9.0]
    frame = pd.DataFrame({"unit": "a", "layer": 1, "feature": "k", "value": range(7), "effect": effects,
                          "lower": effects, "upper": effects, "n_seen": 1})  # fmt: skip
    return html_page("t", [Section("s", effects=frame, tables=[("x", frame)], missing="m", code="c")])


def test_texts_of_a_page_contrast_with_every_background() -> None:
    style = re.search(r"<style>(.*)</style>", page(), re.DOTALL)[1]
    colours = {to_rgb(found) for found in re.findall(r"(?<![-\w])color: ?(#\w+)", style)}
    behind = {to_rgb(found) for found in re.findall(r"background: ?(#\w+)", style)} | {WHITE}
    assert to_rgb(INK) in colours
    assert len(colours) >= 4
    low = {(text, back): contrast(text, back) for text in colours for back in behind if contrast(text, back) < 4.5}
    assert not low


def test_numbers_of_the_map_contrast_with_their_cells() -> None:
    cells = re.findall(r"rgba\((\d+), ?(\d+), ?(\d+), ?([\d.]+)\)", page())
    assert len(cells) == 7
    for *channels, share in cells:
        seen = [1 - float(share) * (1 - int(channel) / 255) for channel in channels]
        assert contrast(to_rgb(INK), seen) >= 4.5, (channels, share)
    assert max(float(share) for *_, share in cells) > 0.3  # strong effects are seen


def test_columns_of_a_feature_lie_together_whatever_the_units_have() -> None:
    rows = [("a", "depth", 2), ("a", "act", "relu"), ("a", "act", "gelu"), ("b", "depth", 10), ("b", "depth", 1)]
    frame = pd.DataFrame(rows, columns=["unit", "feature", "value"])
    frame = frame.assign(layer=1, effect=1.0, lower=0.5, upper=1.5, n_seen=1)
    page = html_page("t", [Section("s", effects=frame)])
    above = re.findall(r'<th scope="colgroup" colspan="(\d)">(\w+)</th>', page)
    assert above == [("3", "depth"), ("2", "act")]
    assert re.findall(r'<th scope="col">(\w+)</th>', page) == ["1", "2", "10", "relu", "gelu"]


def test_the_formula_is_that_of_wcag() -> None:
    assert contrast((0, 0, 0), WHITE) == 21
    assert round(contrast(to_rgb("#777777"), WHITE), 2) == 4.48  # the well-known grey that just fails
