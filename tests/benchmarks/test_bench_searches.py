import pytest

import autobuild as ab
from benchmarks.searches import SEARCHES, climb

SPACE = ab.space("nas_bench_macro")


def label(arch) -> float:
    """Every non-identity layer is good, and more so behind."""
    return float(sum((place + 1) * int(digit) for place, digit in enumerate(arch.text)))


@pytest.mark.parametrize("name", SEARCHES)
def test_a_budget_counts_distinct_networks_and_is_spent(name):
    asked = []
    found = SEARCHES[name](SPACE, lambda arch: asked.append(arch) or label(arch), 40, 0)
    keys = [SPACE.key(arch) for arch in found]
    assert len(found) == len(set(keys)) == 40
    assert [SPACE.key(arch) for arch in asked] == keys  # known labels are not asked for again
    assert [arch.text for arch in SEARCHES[name](SPACE, label, 40, 0)] == [arch.text for arch in found]


@pytest.mark.parametrize("name", [name for name in SEARCHES if name != "random search"])
def test_a_search_beats_drawing_at_random(name):
    def best(which: str, seed: int) -> float:
        return max(map(label, SEARCHES[which](SPACE, label, 60, seed)))

    assert sum(best(name, s) for s in range(5)) > sum(best("random search", s) for s in range(5))


def test_a_small_space_ends_a_search():
    small = SPACE.restrict(op=(1,))
    assert len(SEARCHES["random search"](small, label, 30, 0)) == 1


def test_climbing_finds_the_top_of_a_sum_from_anywhere():
    found = climb(SPACE, lambda archs: [label(arch) for arch in archs], SPACE.sample(5, 0))
    assert found[0].text == "22222222"


@pytest.mark.parametrize("name", ["mnasnet", "ofa_mbv3"])
def test_the_parzen_search_takes_depths_and_tied_stages(name):
    space = ab.space(name)
    found = SEARCHES["TPE"](space, lambda arch: float(len(arch.text)), 15, 0)
    assert len(found) == 15
    assert all(arch in space for arch in found)
