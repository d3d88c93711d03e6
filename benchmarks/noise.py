"""The noise of the embedded labels: how far apart are architectures, and how far apart seeds?

python -m benchmarks.noise
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from autobuild.labels.tables import EMBEDDED
from autobuild.rank import srcc
from benchmarks.report import arguments, write


def main() -> None:
    """Compare the labels with the repeated trainings."""
    options = arguments(__doc__ or "")
    labels = pd.read_csv(EMBEDDED / "tiny_mbconv.csv")
    repeats = pd.read_csv(EMBEDDED / "tiny_mbconv_repeats.csv")
    acc = labels.set_index("arch")["acc"]
    wide = repeats.pivot(index="arch", columns="seed", values="acc")
    wide.insert(0, 0, acc.reindex(wide.index))
    low, high = np.percentile(acc, [5, 95])
    seed_sd = float(np.sqrt(wide.var(axis=1, ddof=1).mean()))
    pairs = [srcc(wide[a], wide[b]) for i, a in enumerate(wide) for b in list(wide)[i + 1 :]]
    rows = [
        ("architectures labelled", f"{len(acc)}", ">= 400", len(acc) >= 400),
        ("accuracy, 5th to 95th percentile (points)", f"{low:.1f} to {high:.1f} ({high - low:.1f})", ">= 15",
         high - low >= 15),
        ("label standard deviation (points)", f"{acc.std():.2f}", "", True),
        ("architectures trained with two more seeds", f"{len(wide)}", ">= 30", len(wide) >= 30),
        ("seed standard deviation (points)", f"{seed_sd:.2f}", "", True),
        ("seed deviation / label deviation", f"{seed_sd / acc.std():.3f}", "<= 0.2", seed_sd <= acc.std() / 5),
        ("rank correlation between seeds, lowest of the three pairs", f"{min(pairs):.3f}", ">= 0.9", min(pairs) >= 0.9),
    ]  # fmt: skip
    table = pd.DataFrame(
        [(a, b, c, ("yes" if d else "no") if c else "") for a, b, c, d in rows],
        columns=["what", "measured", "wanted", "reached"],
    )
    write("noise", table, quick=options.quick)


if __name__ == "__main__":
    main()
