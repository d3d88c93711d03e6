"""Every property that a search space owes, as a pytest suite."""

from __future__ import annotations

import itertools
import json

import numpy as np
import pytest

from autobuild.errors import AutobuildError, SpaceError
from autobuild.spaces import SearchSpace, candidate_graph

DRAWS = 40


class SearchSpaceConformance:
    """Subclass it in a test module and give a fixture ``space``::

    class TestMySpace(SearchSpaceConformance):
        @pytest.fixture
        def space(self):
            return ab.space("my_space.yaml")
    """

    def test_text_round_trip_is_exact(self, space: SearchSpace) -> None:
        """Parse and format are inverse, for both sampling designs."""
        for design in ("uniform", "depth"):
            for arch in space.sample(DRAWS, seed=1, design=design):
                assert space.parse(arch.text) == arch
                assert space.format(space.parse(arch.text)) == arch.text
                assert arch in space
                assert arch.text in space

    def test_size_is_an_exact_integer(self, space: SearchSpace) -> None:
        """The size is a Python int and the product of the units' sizes."""
        size = 1
        for unit in space.units:
            assert isinstance(unit.size, int)
            size *= unit.size
        assert type(space.size) is int
        assert space.size == size > 0

    def test_small_units_enumerate_exactly(self, space: SearchSpace) -> None:
        """Enumeration is lazy, complete and without repetition; index and candidate are inverse."""
        for unit in space.units:
            first = list(itertools.islice(iter(unit), 500))
            texts = [candidate.text for candidate in first]
            assert len(set(texts)) == len(texts) == min(unit.size, 500)
            assert [unit.index(candidate) for candidate in first] == list(range(len(first)))
            assert [unit.index(text) for text in texts] == list(range(len(first)))
            assert unit.candidate(unit.size - 1) in unit

    def test_bulk_forms_equal_single_ones(self, space: SearchSpace) -> None:
        """Texts, depths and digits of many candidates equal those one by one."""
        rng = np.random.default_rng(2)
        for unit in space.units:
            indices = rng.integers(unit.size, size=DRAWS)
            candidates = [unit.candidate(int(i)) for i in indices]
            assert unit.texts(indices) == [candidate.text for candidate in candidates]
            assert unit.depth_of(indices).tolist() == [candidate.depth for candidate in candidates]
            for place, runs in enumerate(unit.runs(indices)):
                kept = [tuple(int(d) for d in run if d >= 0) for run in runs]
                assert kept == [candidate.digits[place] for candidate in candidates]

    def test_assemble_and_indices_are_inverse(self, space: SearchSpace) -> None:
        """An architecture is its candidates' indices."""
        for arch in space.sample(DRAWS, seed=3):
            assert space.assemble(space.indices(arch)) == arch
            for number, unit in enumerate(space.units):
                assert unit.index(space.candidate(arch, number)) == space.indices(arch)[number]

    def test_sampling_is_seeded(self, space: SearchSpace) -> None:
        """The same seed draws the same; a space with a choice draws differently for another seed."""
        for design in ("uniform", "depth"):
            assert space.sample(DRAWS, 4, design) == space.sample(DRAWS, 4, design)
        if space.size > 10**6:
            assert space.sample(DRAWS, 4) != space.sample(DRAWS, 5)

    def test_sampling_covers_depths_as_named(self, space: SearchSpace) -> None:
        """``uniform`` follows the share of candidates with each depth; ``depth`` draws depths of a stage evenly."""
        n = 600
        drawn = {design: space.sample(n, 6, design) for design in ("uniform", "depth")}
        for number, unit in enumerate(space.units):
            if unit.size > 200_000:
                continue
            depths = unit.depth_of(np.arange(unit.size))
            for depth in unit.depths:
                share = float((depths == depth).mean())
                seen = np.mean([space.candidate(arch, number).depth == depth for arch in drawn["uniform"]])
                assert abs(seen - share) < 5 * (share * (1 - share) / n) ** 0.5 + 1e-9
            if len(unit.stages) == 1:
                even = 1 / len(unit.depths)
                for depth in unit.depths:
                    seen = np.mean([space.candidate(arch, number).depth == depth for arch in drawn["depth"]])
                    assert abs(seen - even) < 5 * (even * (1 - even) / n) ** 0.5 + 1e-9

    def test_neighbours_stay_inside_and_are_mutual(self, space: SearchSpace) -> None:
        """A neighbour differs, is in the space, and has the architecture as its neighbour."""
        arch = space.sample(1, seed=7)[0]
        around = list(itertools.islice(space.neighbours(arch), 60))
        assert len(set(around)) == len(around)
        for other in around[:20]:
            assert other != arch
            assert other in space
            assert arch in set(space.neighbours(other))

    def test_mutations_stay_inside(self, space: SearchSpace) -> None:
        """Mutations differ (where the space has a choice), stay in the space and change one unit."""
        for level in ("layer", "unit", "candidate"):
            for seed, arch in enumerate(space.sample(10, seed=8)):
                changed = space.mutate(arch, seed, level)
                assert changed in space
                assert changed != arch or space.size == 1
                differing = sum(a != b for a, b in zip(space.indices(arch), space.indices(changed), strict=True))
                assert differing == (space.size > 1)

    def test_parameters_are_inverse_at_both_grains(self, space: SearchSpace) -> None:
        """``from_params(params(arch))`` is ``arch``; one name never stands for two sets of choices."""
        known: dict[str, tuple[object, ...]] = {}
        for arch in [*space.sample(DRAWS, seed=14), *space.sample(DRAWS, seed=14, design="depth")]:
            for grain in ("layer", "unit"):
                if grain == "unit" and max(unit.size for unit in space.units) > 512:
                    with pytest.raises(SpaceError, match="narrow"):
                        space.params(arch, grain)
                    continue
                params, choices = space.params(arch, grain), space.choices(arch, grain)
                assert space.from_params(params, grain) == arch
                assert list(params) == list(choices)
                for name, values in choices.items():
                    assert params[name] in values
                    assert len(values) > 1
                    assert known.setdefault(f"{grain} {name}", values) == values

    def test_a_narrowed_space_is_a_space(self, space: SearchSpace) -> None:
        """Restricting keeps exactly the chosen candidates; what falls outside is refused."""
        arch = space.sample(1, seed=9)[0]
        chosen = {
            unit.name: sorted({i, unit.size - 1, 0}) for unit, i in zip(space.units, space.indices(arch), strict=True)
        }
        small = space.restrict(chosen)
        assert [unit.size for unit in small.units] == [len(kept) for kept in chosen.values()]
        assert arch in small
        assert small.family == space.family
        assert all(other in space for other in small.sample(DRAWS, 1, "depth"))
        assert small.parse(arch.text) == arch
        for other in space.sample(DRAWS, seed=10):
            inside = all(i in kept for i, kept in zip(space.indices(other), chosen.values(), strict=True))
            assert (other in small) == inside
            if not inside:
                with pytest.raises(SpaceError, match=r"\w"):
                    small.parse(other.text)

    def test_json_round_trip(self, space: SearchSpace) -> None:
        """A stored space reads back as the same space."""
        for one in (space, space.restrict({0: [0, space.units[0].size - 1]})):
            back = SearchSpace.from_json(one.to_json())
            assert json.loads(back.to_json()) == json.loads(one.to_json())
            assert back.size == one.size
            assert back.node_features == one.node_features
            assert back.sample(5, 1) == one.sample(5, 1)

    def test_graphs_are_named_and_run_forward(self, space: SearchSpace) -> None:
        """Every node has every named feature with a known value; edges run forward; a root a stage."""
        known = {feature.name: set(feature.values) for feature in space.node_features}
        for arch in space.sample(5, seed=11):
            graph = space.graph(arch)
            assert len(graph.nodes) == sum(len(run) for run in arch.runs)
            for node in graph.nodes:
                assert set(node) == set(known)
                assert all(value in known[name] for name, value in node.items())
            assert all(source < target for source, target in graph.edges)
            assert len(graph.roots) == len(space.stages)
            alone = candidate_graph(space, 0, space.candidate(arch, 0))
            assert alone.nodes == graph.nodes[: len(alone.nodes)]

    def test_bad_text_is_refused_with_a_reason(self, space: SearchSpace) -> None:
        """Empty, cut and garbled texts raise SpaceError, whose message is not empty."""
        text = space.sample(1, seed=12)[0].text
        for bad in ("", "?", text + "?", text[:-1] + "\x00", text + space.separator + text):
            if not bad.strip() and not text:
                continue
            with pytest.raises(SpaceError, match=r"\w"):
                space.parse(bad)

    def test_equal_networks_have_equal_keys(self, space: SearchSpace) -> None:
        """Without identity layers the key tells architectures apart; keys never depend on how a space was made."""
        archs = space.sample(DRAWS, seed=13)
        if space.identity is None:
            assert len({space.key(arch) for arch in archs}) == len(set(archs))
        back = SearchSpace.from_json(space.to_json())
        assert [back.key(arch) for arch in archs] == [space.key(arch) for arch in archs]

    def test_costs_are_those_of_the_network(self, space: SearchSpace) -> None:
        """Where the space builds networks: ``params`` and ``macs`` are what is counted of one, as built and traced."""
        from autobuild.cost import costs_of, count_macs, count_params
        from autobuild.graphs.of_architecture import shape_of_input

        arch = space.sample(1, seed=15)[0]
        try:
            counts, shape, network = costs_of(space), shape_of_input(space, arch), space.realise(arch)
        except AutobuildError as error:
            pytest.skip(f"no costs of {space.name}: {error}")
        assert counts["params"]([arch]).tolist() == [count_params(network)]
        assert counts["macs"]([arch]).tolist() == [count_macs(network, shape)]
