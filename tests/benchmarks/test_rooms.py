"""The map of the library is that of the code."""

from benchmarks.draw_rooms import direct, imports, levels, rooms, table
from benchmarks.report import RESULTS


def test_the_table_of_rooms_is_current():
    assert (RESULTS / "rooms.md").read_text(encoding="utf-8") == table(), "run python -m benchmarks.draw_rooms"


def test_every_room_has_a_level_and_says_what_it_holds():
    placed = [room for level in levels() for room in level]
    assert sorted(placed) == sorted(rooms())
    assert all(rooms().values())


def test_arrows_are_imports_that_follow_from_no_others():
    arrows = direct()
    assert all(below in imports(above) for above, below in arrows)
    assert ("encode", "graphs") in arrows
    assert ("jobs", "errors") not in arrows
