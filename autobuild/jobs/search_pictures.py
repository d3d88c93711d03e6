"""The pictures of a search, in its own run folder or in that of a report."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from autobuild.jobs.run import Run
    from autobuild.studies.result import Search


def draw_search(folder: Run, search: Search) -> list[tuple[str, str]]:
    """Draw the figures of a search.

    Returns:
        File name and caption of each picture.
    """
    from autobuild import plot

    curve = search.history
    drawn = [("history.png", "The first target over the evaluations", plot.search_history(curve, search.targets[0]))]
    if len(search.targets) in (2, 3):
        front = plot.search_front(search.trials, search.front, search.targets)
        drawn.append(("front.png", "The networks measured, and their front", front))
        drawn.append(("hypervolume.png", "What the front covers so far", plot.search_hypervolume(curve)))
    chain = plot.search_chain(search.chain)
    drawn.append(("chain.png", "The spaces searched one after another", chain))
    for name, _, axes in drawn:
        with folder.writing(name) as path:
            plot.save(axes, path)
    return [(name, caption) for name, caption, _ in drawn]
