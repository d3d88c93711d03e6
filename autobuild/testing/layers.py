"""Every property that a message-passing layer must have, as a pytest suite."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from autobuild.graphs import PackedGraphs, pack_architectures
from autobuild.spaces import Feature, SearchSpace, Stage, Unit

WIDTH_IN, WIDTH_OUT = 6, 8
Layer = Callable[[int, int, int], nn.Module]


class LayerConformance:
    """Subclass it in a test module and give a fixture ``layer``, the class or function that is registered::

    class TestMyLayer(LayerConformance):
        @pytest.fixture
        def layer(self):
            return MyLayer
    """

    @pytest.fixture
    def graphs(self) -> PackedGraphs:
        """Five graphs whose nodes have up to three neighbours."""
        kinds = Feature("k", (1, 2, 3))
        units = [Unit(f"s{i}", [Stage(f"s{i}", (1, 2), (kinds,), "{k}")]) for i in range(4)]
        space = SearchSpace("dag", units, joins=[(0, 1), (0, 2), (1, 3), (2, 3), (0, 3)])
        return pack_architectures(space, space.sample(5, seed=0))

    @pytest.fixture(params=[1, 2])
    def module(self, layer: Layer, request: pytest.FixtureRequest) -> nn.Module:
        """A layer in double precision."""
        torch.manual_seed(0)
        return layer(WIDTH_IN, WIDTH_OUT, request.param).double().eval()

    def test_shape_and_repeatability(self, module: nn.Module, graphs: PackedGraphs) -> None:
        """One row of the asked width for each node, finite, and the same at every call."""
        h = _embeddings(graphs)
        out = module(h, graphs)
        assert out.shape == (len(graphs.x), WIDTH_OUT)
        assert torch.isfinite(out).all()
        assert torch.equal(out, module(h, graphs))

    def test_the_seed_determines_the_weights(self, layer: Layer, graphs: PackedGraphs) -> None:
        """Layers made under one seed are equal; a state read into another layer makes it equal."""
        made = []
        for seed in (1, 1, 2):
            torch.manual_seed(seed)
            made.append(layer(WIDTH_IN, WIDTH_OUT, 1).double().eval())
        h = _embeddings(graphs)
        first, same, other = (one(h, graphs) for one in made)
        assert torch.equal(first, same)
        assert not torch.allclose(first, other)
        made[2].load_state_dict(made[0].state_dict())
        assert torch.equal(first, made[2](h, graphs))

    def test_nodes_in_another_order(self, module: nn.Module, graphs: PackedGraphs) -> None:
        """Permuting the nodes of a graph permutes the embeddings."""
        first = graphs.slice(0, 1)
        h, n = _embeddings(first), len(first.x)
        order = torch.randperm(n, generator=torch.Generator().manual_seed(1))
        place = torch.empty_like(order)
        place[order] = torch.arange(n)
        near = first.neighbours[order]
        moved = replace(first, x=first.x[order], neighbours=torch.where(near >= 0, place[near.clamp(min=0)], near))
        torch.testing.assert_close(module(h[order], moved), module(h, first)[order])

    def test_a_batch_equals_its_graphs(self, module: nn.Module, graphs: PackedGraphs) -> None:
        """Graphs in a batch do not see one another."""
        h = _embeddings(graphs)
        single = [module(h[a:b], graphs.slice(i, i + 1)) for i, (a, b) in enumerate(zip(graphs.ptr, graphs.ptr[1:]))]  # noqa: B905
        torch.testing.assert_close(module(h, graphs), torch.cat(single))

    def test_a_node_sees_itself_and_its_neighbours(self, module: nn.Module, graphs: PackedGraphs) -> None:
        """A changed embedding changes those of the node and of the nodes that it feeds, and no other."""
        h = _embeddings(graphs)
        source, target = graphs.edges
        for node in range(len(graphs.slice(0, 1).x)):
            changed = h.clone()
            changed[node] += 1.0
            differs = ((module(changed, graphs) - module(h, graphs)).abs() > 1e-9).any(dim=1)
            assert set(torch.nonzero(differs).flatten().tolist()) == {node, *target[source == node].tolist()}

    def test_gradients(self, module: nn.Module, graphs: PackedGraphs) -> None:
        """The gradient equals finite differences, and reaches every weight."""
        small = graphs.slice(0, 2)
        h = _embeddings(small).requires_grad_()
        assert torch.autograd.gradcheck(lambda x: module(x, small), (h,))
        module(h, small).square().sum().backward()
        assert all(weight.grad is not None and weight.grad.any() for weight in module.parameters())


def _embeddings(graphs: PackedGraphs) -> Tensor:
    return torch.randn(len(graphs.x), WIDTH_IN, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
