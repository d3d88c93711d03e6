"""Find cells that are the same network, by removing zero edges, identities and the numbering of edges.

A cell space has one layer (operation) per stage. The joins say which operations feed which; the inputs of an operation
are summed. Every operation has its own weights, so an output is a sum of outputs of operations, in which the same
operation may occur several times.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING

from autobuild.spaces.stage import Digits

if TYPE_CHECKING:
    from autobuild.spaces.space import SearchSpace

CELL_INPUT = -1
CUT, IDLE, REAL = range(3)  # what an operation does with its input: nothing passes, all passes, or neither
MAX_RELABELLINGS = 50_000

Sum = tuple[tuple[int, int], ...]  # (operation or CELL_INPUT, how often), sorted


def cell_key(space: SearchSpace, runs: Sequence[Digits]) -> str:
    """A text that is equal for cells that compute the same function once identities and zero operations are removed.

    Operations that do not affect the output are left out. An operation whose inputs are all zero counts as zero, as in
    the rule of NAS-Bench-201 (Dong and Yang, ICLR 2020), although a normalisation layer could learn to add a constant.
    Otherwise, equal keys mean isomorphic cells with the same sharing of operations: one operation that reaches a sum on
    two paths is different from two operations of the same kind.

    Raises:
        SpaceError: A stage can have more than one layer.
    """
    inputs, labels, output = simplified_cell(space, runs)
    return _canonical(tuple(inputs.items()), tuple((operation, labels[operation]) for operation in inputs), output)


def simplified_cell(space: SearchSpace, runs: Sequence[Digits]) -> tuple[dict[int, Sum], dict[int, str], Sum]:
    """The operations that affect the output: the inputs of each, the text of each, and the cell's output as a sum."""
    idle, cut = space._special_digits
    kinds = tuple(
        CUT if run[0] in cut[number] else IDLE if run[0] in idle[number] else REAL for number, run in enumerate(runs)
    )
    inputs, output = _simplified(space.joins, kinds)
    return inputs, {operation: space._cell_texts[operation][runs[operation][0]] for operation in inputs}, output


@lru_cache(maxsize=100_000)  # cells that differ only in what their real operations are share this
def _simplified(joins: tuple[tuple[int, int], ...], kinds: tuple[int, ...]) -> tuple[dict[int, Sum], Sum]:
    """The inputs of each operation that affects the output, and the output."""
    feeders, sinks = _wiring(joins, len(kinds))
    out: list[Sum] = []
    inputs: dict[int, Sum] = {}
    for number, kind in enumerate(kinds):
        fed = _add(out[source] for source in feeders[number]) if feeders[number] else ((CELL_INPUT, 1),)
        if not fed or kind == CUT:
            out.append(())
        elif kind == IDLE:
            out.append(fed)
        else:
            inputs[number] = fed
            out.append(((number, 1),))
    output = _add(out[sink] for sink in sinks)
    live: set[int] = set()
    waiting = [operation for operation, _ in output if operation != CELL_INPUT]
    while waiting:
        operation = waiting.pop()
        if operation not in live:
            live.add(operation)
            waiting += [source for source, _ in inputs[operation] if source != CELL_INPUT]
    return {operation: inputs[operation] for operation in sorted(live)}, output


def _wiring(joins: tuple[tuple[int, int], ...], stages: int) -> tuple[list[list[int]], list[int]]:
    """For each stage those that feed it, and the stages that feed none."""
    feeders: list[list[int]] = [[] for _ in range(stages)]
    for source, target in joins:
        feeders[target].append(source)
    return feeders, sorted(set(range(stages)) - {source for source, _ in joins})


def live_cell(space: SearchSpace, runs: Sequence[Digits], fed: bool = True) -> set[int]:
    """Stages whose operation affects the output: it is not zero, leads to the output, and if ``fed`` has an input that
    is not zero.
    """
    cut = space._special_digits[1]
    feeders: list[list[int]] = [[] for _ in space.stages]
    sinks: list[list[int]] = [[] for _ in space.stages]
    for source, target in space.joins:
        feeders[target].append(source)
        sinks[source].append(target)
    reached: set[int] = set()
    for stage, run in enumerate(runs):
        led = not fed or not feeders[stage] or any(source in reached for source in feeders[stage])
        if led and run[0] not in cut[stage]:
            reached.add(stage)
    live: set[int] = set()
    for stage in reversed(range(len(runs))):
        if stage in reached and (not sinks[stage] or any(target in live for target in sinks[stage])):
            live.add(stage)
    return live


def _add(sums: Iterable[Sum]) -> Sum:
    given = [one for one in sums if one]
    if len(given) < 2:
        return given[0] if given else ()
    total: dict[int, int] = {}
    for one in given:
        for operation, times in one:
            total[operation] = total.get(operation, 0) + times
    return tuple(sorted(total.items()))


@lru_cache(maxsize=100_000)  # many cells are the same once zero operations are removed
def _canonical(own_inputs: tuple[tuple[int, Sum], ...], texts: tuple[tuple[int, str], ...], output: Sum) -> str:
    """The smallest text over all numberings of operations that are consistent with colour refinement."""
    inputs, labels, in_output = dict(own_inputs), dict(texts), dict(output)
    users: dict[int, list[tuple[int, int]]] = {operation: [] for operation in (CELL_INPUT, *inputs)}
    for operation, fed in own_inputs:
        for source, times in fed:
            users[source].append((operation, times))
    colours = {operation: labels[operation] for operation in inputs}
    while len(set(colours.values())) < len(colours):
        refined = {}
        for operation, fed in inputs.items():
            below = sorted((colours.get(source, ""), times) for source, times in fed)
            above = sorted((colours[user], times) for user, times in users[operation])
            refined[operation] = repr((labels[operation], below, above, in_output.get(operation, 0)))
        ranks = {text: str(rank) for rank, text in enumerate(sorted(set(refined.values())))}
        stable = len(ranks) == len(set(colours.values()))
        colours = {operation: f"{ranks[text]}:{labels[operation]}" for operation, text in refined.items()}
        if stable:
            break
    classes: dict[str, list[int]] = {}
    for operation, colour in colours.items():
        classes.setdefault(colour, []).append(operation)
    groups = [classes[colour] for colour in sorted(classes)]
    if math.prod(math.factorial(len(group)) for group in groups) > MAX_RELABELLINGS:
        return _written([operation for group in groups for operation in group], inputs, labels, output)
    return min(
        _written([operation for group in order for operation in group], inputs, labels, output)
        for order in itertools.product(*(itertools.permutations(group) for group in groups))
    )


def _written(order: list[int], inputs: dict[int, Sum], labels: dict[int, str], output: Sum) -> str:
    name = {operation: f"n{place}" for place, operation in enumerate(order)} | {CELL_INPUT: "x"}

    def total(terms: Sum) -> str:
        return "+".join(sorted(name[o] if times == 1 else f"{times}*{name[o]}" for o, times in terms)) or "0"

    lines = [f"{name[operation]}={labels[operation]}({total(inputs[operation])})" for operation in order]
    return "; ".join([*lines, total(output)])
