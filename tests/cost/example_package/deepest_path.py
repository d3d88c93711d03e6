"""A cost: how many convolutions and linear layers lie one behind the other on the longest path."""


class DeepestPath:
    """``deepest_path``, and ``widest_conv``: the most output channels of a convolution."""

    name = "deepest_path"
    unit = "layers"
    metrics = {"deepest_path": "layers", "widest_conv": "channels"}

    def __call__(self, graph):
        depth = [0] * len(graph)
        for i, sources in enumerate(graph.sources()):
            own = graph.nodes[i].type in ("conv", "linear")
            depth[i] = own + max((depth[source] for source in sources), default=0)
        convs = [node.out_channels for node in graph.nodes if node.type == "conv"]
        return {"deepest_path": max(depth, default=0), "widest_conv": max(convs, default=0)}


def not_a_cost():
    return "a text"
