"""Which cells of NAS-Bench-201 are the same network: our key, the published rule, and what cells compute."""

import itertools
import math

import pytest

import autobuild as ab
from autobuild.errors import SpaceError

EDGES = ((0, 1), (0, 2), (1, 2), (0, 3), (1, 3), (2, 3))


@pytest.fixture(scope="module")
def space():
    return ab.space("nas_bench_201")


@pytest.fixture(scope="module")
def all_cells(space):
    return [space.assemble(choices) for choices in itertools.product(range(5), repeat=6)]


def published_key(ops, zeros):
    """NAS-Bench-201's rule: a node is the sorted sum of its edges' texts; a skip is its source, a zero stays as ``#``.

    Without ``zeros`` a zero is an operation like others.
    """
    nodes = {0: "in"}
    for node in (1, 2, 3):
        terms = []
        for op, (source, target) in zip(ops, EDGES, strict=True):
            if target == node and zeros and (op == "none" or nodes[source] == "#"):
                terms.append("#")
            elif target == node:
                terms.append(nodes[source] if op == "skip_connect" else f"({nodes[source]})@{op}")
        nodes[node] = "+".join(sorted(terms))
    return nodes[3]


def value(ops):
    """What a cell computes from one number, where all operations of a kind are one function that keeps zero."""
    functions = {
        "none": lambda v: 0.0,
        "skip_connect": lambda v: v,
        "nor_conv_1x1": lambda v: 1.31 * math.sin(1.7 * v),
        "nor_conv_3x3": lambda v: 0.77 * math.tanh(2.3 * v),
        "avg_pool_3x3": lambda v: 0.91 * v * abs(v) + 0.37 * v,
    }
    nodes = [0.3, 0.0, 0.0, 0.0]
    for op, (source, target) in zip(ops, EDGES, strict=True):
        nodes[target] += functions[op](nodes[source])
    return round(nodes[3], 9)


def test_the_counts_of_distinct_cells(space, all_cells):
    """15,625 texts; 12,751 and 6,466 by the published rule without and with zeros; 5,425 by our key.

    4,930 differ if all operations of a kind are the same function. Our key never parts what the functions join, but
    for sharing: one operation that reaches a sum twice is told from two of its kind, which the published rule does not.
    """
    ops = [tuple(layer["op"] for (layer,) in space.layers(arch)) for arch in all_cells]
    ours = [space.key(arch) for arch in all_cells]
    assert len({published_key(one, zeros=False) for one in ops}) == 12_751
    published = [published_key(one, zeros=True) for one in ops]
    assert len(set(published)) == 6_466
    assert len(set(ours)) == 5_425
    values = [value(one) for one in ops]
    assert len(set(values)) == 4_930
    assert len(set(zip(ours, values, strict=True))) == 5_425  # equal keys compute the same
    assert len(set(zip(published, values, strict=True))) == 6_466  # so do equal published ones
    assert len(set(zip(published, ours, strict=True))) > 6_466  # but they hide which operations are shared


def test_keys_of_cells_equal_brute_force(space):
    """Refined colours and all relabellings without them part 400 random cells alike; the published rule is coarser."""
    from autobuild.spaces import isomorphism

    archs = space.sample(400, seed=0)

    def slow(arch):
        inputs, labels, output = isomorphism.simplified_cell(space, arch.runs)
        orders = itertools.permutations(inputs)
        return min(isomorphism._written(list(order), inputs, labels, output) for order in orders)

    pairs = {(space.key(arch), slow(arch)) for arch in archs}
    assert len(pairs) == len({a for a, _ in pairs}) == len({b for _, b in pairs})


def test_equal_keys_of_cells_mean_equal_functions(space):
    """One operation on two ways to a sum is not two operations; a relabelled node is the same cell."""
    shared = space.parse("|nor_conv_3x3~0|+|none~0|skip_connect~1|+|none~0|skip_connect~1|skip_connect~2|")
    twice = space.parse("|nor_conv_3x3~0|+|nor_conv_3x3~0|none~1|+|none~0|skip_connect~1|skip_connect~2|")
    assert space.key(shared) != space.key(twice)
    one = space.parse("|nor_conv_3x3~0|+|avg_pool_3x3~0|none~1|+|none~0|nor_conv_1x1~1|none~2|")
    other = space.parse("|none~0|+|nor_conv_3x3~0|avg_pool_3x3~1|+|none~0|none~1|nor_conv_1x1~2|")
    assert space.key(one) == space.key(other)
    for wrong in ("|none~0|+|none~0|none~1|+|none~0|none~1|", "|none~0|+|none~1|none~0|+|none~0|none~1|none~2|"):
        with pytest.raises(SpaceError, match=r"nas_bench_201|edge02"):
            space.parse(wrong)
