"""docs/fusion.md: every line of the worked example, evaluated, and compared with what the code says."""

import ast
import math
import operator
import re

import pytest
from torch import nn

import autobuild as ab
from autobuild.cost.fusion import GroupCosts, fold
from autobuild.cost.fusion.line_buffer import Strides
from autobuild.cost.fusion.single_operation import schedule_alone
from autobuild.cost.fusion.whole_tensor import weight_tile
from benchmarks.documents import DOCS

LINE = re.compile(r"^(\S.*?) += (.+) = (\d+)$", re.MULTILINE)
OPERATORS = {ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv}
CALLS = {"min": min, "max": max, "floor": math.floor, "ceil": math.ceil}


def evaluated(text):
    """A sum as a person would do it: numbers, + - * /, min, max, floor, ceil."""

    def value(node):
        match node:
            case ast.Constant(value=int() as number):
                return number
            case ast.BinOp(left, op, right):
                return OPERATORS[type(op)](value(left), value(right))
            case ast.Call(func=ast.Name(id=name), args=args):
                return CALLS[name](*map(value, args))
        raise ValueError(text)

    return value(ast.parse(text, mode="eval").body)


@pytest.fixture(scope="module")
def lines():
    text = (DOCS / "fusion.md").read_text(encoding="utf-8")
    example = text[text.index("## A worked example") : text.index("## What is not counted")]
    return {name: (sum_, int(result)) for name, sum_, result in LINE.findall(example)}


def test_every_line_is_right(lines):
    assert len(lines) == 43
    for name, (text, result) in lines.items():
        assert evaluated(text) == result, name


def test_every_line_equals_the_code(lines):
    net = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.ReLU(), nn.Conv2d(8, 8, 3, 1, 1, groups=8), nn.ReLU(),
                        nn.Conv2d(8, 16, 1))  # fmt: skip
    graph = fold(ab.graph_of(net, (1, 3, 16, 16)))
    costs = GroupCosts(graph, 2048)
    buffers, whole = costs.line_buffers, costs.whole_tensors
    kept, strides = buffers.schedule(0b111), Strides(graph)
    found = {"DRAM unfused": graph.unfused_bytes, "DRAM A+B+C": costs.dram(0b111), "DRAM A+B": costs.dram(0b11),
             "LBDF A+B+C": kept.required_bytes, "BRR A+B+C": whole.required_bytes(0b111)}  # fmt: skip
    for i, name in enumerate("xABC"):
        found |= {f"row of {name}": graph.tensors[i].row_bytes, f"rows of {name}": kept.rows[i]}
        found[f"sigma {name}"] = strides.sigma[strides.node(0) if name == "x" else i - 1]
    live = 0
    for i, name in enumerate("ABC"):
        op = graph.ops[i]
        step, live = whole._step(0b111, (1 << i) - 1, i, live)
        tile = weight_tile(op.weight_bytes, op.weight_tiles)
        found |= {f"weights {name}": op.weight_bytes, f"DRAM {name}": costs.dram(1 << i)}
        found |= {f"step {name}": step, f"tile {name}": tile, f"delta {name}": kept.delta[i]}
    found["LBDF A"] = buffers.required_bytes(1)
    found["lines of A"] = found["LBDF A"] - graph.ops[0].weight_bytes
    found["A in 400 bytes"] = schedule_alone(graph, 0, 208, 400).dram_bytes
    small = GroupCosts(graph, 400, "lbdf")(1)
    assert (small.scheme, small.dram_bytes) == ("weight_tiles", found["A in 400 bytes"])
    assert {name: lines[name][1] for name in found} == found
    ways = {"resident A", "tiles of A", "weight_tiles A", "bands of A", "halo of A", "row_bands A"}
    assert set(lines) - set(found) == ways | {"band of 2 rows", "band of 3 rows"}  # those of the next test


def test_schedules_of_a_single_operation(lines):
    """Each of the three ways, forced by a buffer in which only it is the cheapest."""
    net = nn.Conv2d(3, 8, 3, 2, 1)
    graph = fold(ab.graph_of(net, (1, 3, 16, 16)))
    value = {name: result for name, (_, result) in lines.items()}
    resident = schedule_alone(graph, 0, 10**6, 863)  # lines that do not fit: no tiles
    assert (resident.scheme, resident.required_bytes) == ("resident", value["resident A"])
    assert schedule_alone(graph, 0, 10**6, 862).scheme == "row_bands"
    banded = schedule_alone(graph, 0, 10**6, 400)
    assert (banded.scheme, banded.dram_bytes) == ("row_bands", value["row_bands A"])
    assert banded.required_bytes == value["band of 2 rows"]
    assert schedule_alone(graph, 0, 10**6, value["band of 3 rows"]).required_bytes == value["band of 3 rows"]
    tiled = schedule_alone(graph, 0, value["lines of A"], 400)
    assert (tiled.scheme, tiled.dram_bytes) == ("weight_tiles", value["weight_tiles A"])
