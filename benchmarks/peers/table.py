"""Tables of docs/peers.md: our DRAM bytes beside the stored ones of ZigZag and Stream.

python -m benchmarks.peers.table
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pandas as pd

from autobuild.cost.fusion import GroupCost, GroupCosts
from benchmarks.peers.formulas import (
    everything_fits,
    graph,
    input_fits,
    moved,
    sizes,
    stored,
    touched,
)
from benchmarks.report import write


def layer_rows() -> Iterator[tuple[dict[str, Any], GroupCost]]:
    """Every stored row of ZigZag's, and our cost of the same layer in the same buffer."""
    for row in stored("zigzag_layers")["results"]:
        yield row, GroupCosts(graph([row]), row["buffer_bytes"])(1)


def outcome(row: dict[str, Any], cost: GroupCost) -> str:
    """A column of the summary."""
    weights, whole, out = sizes(row)
    ours, theirs = cost.dram_bytes, moved(row)
    if not cost.valid:
        return "refused here"
    if ours == theirs:
        return "equal"
    if ours == weights + whole + out and theirs == weights + touched(row) + out:
        return "equal but for input that no window reads"
    return "fewer here" if ours < theirs else "fewer by ZigZag"


def summary() -> pd.DataFrame:
    """Layers by buffer and outcome."""
    columns = ("equal", "equal but for input that no window reads", "fewer here", "fewer by ZigZag", "refused here")
    counts: dict[int, dict[str, Any]] = {}
    for row, cost in layer_rows():
        buffer = row["buffer_bytes"]
        line = counts.setdefault(buffer, {"buffer": f"{buffer // 1024} KiB", "everything or the input fits": 0}
                                 | dict.fromkeys(columns, 0))  # fmt: skip
        line["everything or the input fits"] += everything_fits(row, buffer) or input_fits(row, buffer)
        line[outcome(row, cost)] += 1
    return pd.DataFrame(counts.values())


def differences() -> pd.DataFrame:
    """Rows where the bytes differ by more than input that no window reads; times that tensors move, ours and theirs."""
    lines = []
    for row, cost in layer_rows():
        kind = outcome(row, cost)
        if kind.startswith("equal"):
            continue
        weights, whole, out = sizes(row)
        lines.append(
            {
                "layer": row["layer"],
                "KiB": row["buffer_bytes"] // 1024,
                "weights": f"{weights:,}",
                "input": f"{whole:,}",
                "output": f"{out:,}",
                "ours": f"{cost.dram_bytes:,}" if cost.valid else "refused",
                "way": cost.scheme.replace("_", " ") or f"needs {cost.buffer_bytes:,}",
                "ZigZag": f"{moved(row):,}",
                "weights x": f"{row['W_read'] / weights:.3g}",
                "input x": f"{row['I_read'] / whole:.3g}",
                "output x": f"{(row['O_written'] + row['O_read']) / out:.3g}",
            }
        )
    return pd.DataFrame(lines)


def chains() -> pd.DataFrame:
    """Chains by line."""
    lines = []
    for row in stored("stream_chains")["results"]:
        convs, bytes_ = row["convolutions"], row["bytes"]
        whole = graph(convs)
        cost = GroupCosts(whole, row["buffer_bytes"], scheme="lbdf")(whole.full)
        weights, first, final = sum(sizes(conv)[0] for conv in convs), sizes(convs[0])[1], sizes(convs[-1])[2]
        last = len(convs) - 1
        between = sum(count for name, count in bytes_.items() if name[0] == "O" and name != f"O{last}_written")
        lines.append(
            {
                "chain": row["chain"],
                "weights": f"{weights:,} / {sum(bytes_[f'W{i}_read'] for i in range(last + 1)):,}",
                "output": f"{final:,} / {bytes_[f'O{last}_written']:,}",
                "intermediates": f"{cost.dram_bytes - weights - first - final:,} / {between:,}",
                "input": f"{first:,} / {bytes_['I0_read']:,}",
                "smallest buffer": f"{cost.buffer_bytes:,} / {row['smallest_buffer_bytes']:,}",
            }
        )
    return pd.DataFrame(lines)


def main() -> None:
    """Print and write all."""
    write("peers_layers", summary(), quick=False)
    write("peers_differences", differences(), quick=False)
    write("peers_chains", chains(), quick=False)


if __name__ == "__main__":
    main()
