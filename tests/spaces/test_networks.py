"""Real networks of every space: published counts, and options."""

import json
import tarfile

import numpy as np
import pytest

import autobuild as ab
from autobuild.cost import costs_of, count_params
from autobuild.errors import SpaceError
from autobuild.spaces import blocks
from autobuild.spaces.blocks import AvgPool, Classifier, Conv, MBConv, divisible
from autobuild.testing import SearchSpaceConformance
from benchmarks.report import counted_by_torch

SHIPPED = (
    "nas_bench_macro",
    "mnasnet",
    "nas_bench_201",
    "ofa_mbv3(width=1.2, resolution='128-224/32')",
    "ofa_proxyless(resolution=[160, 224])",
    "ofa_resnet50",
)
MACRO, ANB = "nas-bench-macro_cifar10.json", "anb_dataset_jsons.tar.gz"


@pytest.fixture(scope="module", params=SHIPPED)
def shipped(request):
    return ab.space(request.param)


class TestShipped(SearchSpaceConformance):
    @pytest.fixture
    def space(self, shipped):
        return shipped


def anb_rows(folder):
    """Text form and counts in millions of every published Accel-NASBench architecture."""
    with tarfile.open(folder / ANB) as tar:
        for member in tar:
            if member.name.endswith(".json"):
                row = json.load(tar.extractfile(member))
                a = row["architecture"]
                text = "|".join(
                    f"e{a[f'block{b}_e']}k{a[f'block{b}_k']}l{a[f'block{b}_l']}s{int(a[f'block{b}_se'])}"
                    for b in range(7)
                )
                yield text, row["model_info"]


def test_sizes():
    assert ab.space("nas_bench_macro").size == 3**8
    assert ab.space("nas_bench_201").size == 15625
    assert ab.space("mnasnet").size == (3 * 2 * 2 * 3) ** 6 * (3 * 2 * 2 * 4)
    for name in ("ofa_mbv3", "ofa_proxyless"):
        assert [unit.size for unit in ab.space(name).units][:5] == [7371] * 5
    assert [unit.size for unit in ab.space("ofa_resnet50").units] == [12, 351, 351, 3159, 351]
    assert ab.space("ofa_mbv3", resolution="128-224/4").units[0].size == 25


# --- published counts ---------------------------------------------------------------------------------------------


def test_nas_bench_macro_counts_equal_the_published_ones(published):
    """Analytic counts of all 6,561 rows; every 200th also by realising the network."""
    rows = json.loads((published / MACRO).read_text())
    space = ab.space("nas_bench_macro")
    costs = costs_of(space)
    assert costs["params"](list(rows)).tolist() == [row["params"] for row in rows.values()]
    assert costs["flops"](list(rows)).tolist() == [row["flops"] for row in rows.values()]
    for text in list(rows)[::200]:
        net = space.realise(text, in_channels=3)
        assert counted_by_torch(net, (3, 32, 32)) == (rows[text]["params"], rows[text]["flops"])


def test_mnasnet_counts_equal_the_published_ones(published):
    """Parameters and published MACs of all rows, squeeze-excite or not; convolutions alone are 3 to 15 % lower."""
    texts, known = zip(*anb_rows(published), strict=True)
    space = ab.space("mnasnet")
    costs = costs_of(space)
    params, macs = (np.array([row[name] for row in known]) * 1e6 for name in ("params", "macs"))
    assert len(texts) == 4111
    assert np.array_equal(costs["params"](texts), params.round())
    assert np.array_equal(costs["macs_published"](texts), macs.round())
    below = 1 - costs["macs"](texts) / macs
    assert 0.03 < below.min() < below.max() < 0.15
    for text, row in list(zip(texts, params, strict=True))[::400]:
        assert count_params(space.realise(text, 1000, 3)) == round(row)


# cell string, classes -> published parameters and FLOPs (threads 36 and 24 of D-X-Y/NATS-Bench)
INDEX_0 = "|avg_pool_3x3~0|+|nor_conv_1x1~0|skip_connect~1|+|nor_conv_1x1~0|skip_connect~1|skip_connect~2|"
THREAD_36 = "|skip_connect~0|+|none~0|nor_conv_3x3~1|+|avg_pool_3x3~0|nor_conv_3x3~1|nor_conv_3x3~2|"
KNOWN_CELLS = [(THREAD_36, 10, 802_426, 113_951_370), (INDEX_0, 10, None, 15_647_370), (INDEX_0, 100, None, 15_653_220)]


@pytest.mark.parametrize(("text", "classes", "params", "flops"), KNOWN_CELLS)
def test_nas_bench_201_counts_equal_the_published_ones(text, classes, params, flops):
    space = ab.space("nas_bench_201")
    costs = costs_of(space, num_classes=classes)
    net = space.realise(text, classes, 3)
    counted, macs = counted_by_torch(net, (3, 32, 32))
    assert costs["flops"]([text]).tolist() == [flops] == [macs + classes]
    assert costs["params"]([text])[0] == counted
    assert params is None or count_params(net) == params


def test_ofa_subnets_have_the_published_counts():
    """The specialised net flops@595M (width 1.2, 236 px: 595 M, 9.1 M); ResNet-50-D (timm's resnet50d: 25,576,264)."""
    text = "e3k3-e4k5-e3k3|e4k5-e4k5-e6k3-e3k5|e6k7-e6k5-e3k3-e4k5|e6k3-e6k5-e6k7-e4k3|e6k3-e6k3-e6k5-e3k3"
    space = ab.space("ofa_mbv3", width=1.2)
    costs = costs_of(space, input_shape=(3, 236, 236))
    assert round(costs["macs"]([text])[0] / 1e6) == 595
    assert round(costs["params"]([text])[0] / 1e6, 1) == 9.1
    layers = "|".join(f"w1.0|{'-'.join(['e0.25'] * depth)}" for depth in (3, 4, 6, 3))
    assert costs_of(ab.space("ofa_resnet50"))["params"]([f"m32w1.0d1|{layers}"]).tolist() == [25_576_264]


def test_blocks_make_the_published_mobilenet_v2_and_v3():
    """The blocks that all spaces share: parameters of torchvision's documented models, 3,504,872 and 5,483,032."""
    width, parts = 32, [Conv(3, 32, 3, 2, act="relu6")]
    rows = [(1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1)]
    for expand, outputs, depth, stride in rows:
        for position in range(depth):
            parts.append(MBConv(width, outputs, 3, 1 if position else stride, width * expand, "relu6"))
            width = outputs
    v2 = [*parts, Conv(320, 1280, act="relu6"), AvgPool(1280), Classifier(1280, 1000)]
    assert blocks.count(v2, 224)[:2] == (3_504_872, 300_774_272)
    width, parts = 16, [Conv(3, 16, 3, 2, act="hswish")]
    rows = [
        (3, 16, 16, 0, 1), (3, 64, 24, 0, 2), (3, 72, 24, 0, 1), (5, 72, 40, 1, 2), (5, 120, 40, 1, 1),
        (5, 120, 40, 1, 1), (3, 240, 80, 0, 2), (3, 200, 80, 0, 1), (3, 184, 80, 0, 1), (3, 184, 80, 0, 1),
        (3, 480, 112, 1, 1), (3, 672, 112, 1, 1), (5, 672, 160, 1, 2), (5, 960, 160, 1, 1), (5, 960, 160, 1, 1),
    ]  # fmt: skip
    for kernel, hidden, outputs, squeeze, stride in rows:
        squeezed = divisible(hidden // 4) if squeeze else 0
        parts.append(MBConv(width, outputs, kernel, stride, hidden, "hswish", squeezed, "hsigmoid"))
        width = outputs
    head = [AvgPool(960), Conv(960, 1280, act="hswish", norm=False, bias=True), Classifier(1280, 1000)]
    v3 = [*parts, Conv(160, 960, act="hswish"), *head]
    assert blocks.count(v3, 224).params == 5_483_032


# --- options ---------------------------------------------------------------------------------------------


def test_options_travel_with_the_space():
    space = ab.space("ofa_mbv3(width=1.2)")
    assert space.name == "ofa_mbv3(width=1.2)"
    assert space.family == "ofa_mbv3"
    assert ab.space("ofa_mbv3", width=1.2).name == space.name
    assert ab.space("ofa_mbv3(width=1.0)").name == "ofa_mbv3"
    small = ab.SearchSpace.from_json(space.restrict(kernel=3).to_json())
    assert small.options == space.options
    text = small.sample(1)[0].text
    assert count_params(small.realise(text)) > count_params(ab.space("ofa_mbv3").realise(text))
    for wrong, said in [("width=1.1", "accepted: 1.0, 1.2"), ("widht=1.2", "did you mean 'width'"),
                        ("resolution=100", "from 128 to 224")]:  # fmt: skip
        with pytest.raises(SpaceError, match=said):
            ab.space(f"ofa_mbv3({wrong})")
    with pytest.raises(SpaceError, match=r"has no option 'width': accepted: num_classes"):
        ab.space("mnasnet", width=1)


@pytest.mark.parametrize("name", ["nas_bench_201", "mnasnet", "ofa_resnet50(resolution=[128, 224])"])
def test_fitting_explaining_building_and_narrowing_need_no_chain(name):
    """Cells, tied blocks and units of several stages go through the same path; scores are finite, networks distinct."""
    import pandas as pd

    space = ab.space(name)
    archs = list(dict.fromkeys(space.sample(60, seed=0, design="depth")))
    frame = pd.DataFrame({"arch": [arch.text for arch in archs], "macs": costs_of(space)["macs"](archs) / 1e6})
    labels = ab.LabelledSet.from_frame(frame, space)
    hops = max(4, *(unit.depths[-1] - 1 for unit in space.units))
    encoder = ab.EncoderConfig(hops=hops)
    model = ab.fit(labels, "label.macs", config=ab.FitConfig(epochs=3, holdout=0), encoder=encoder, model="graph")
    scores = model.explain()
    assert np.isfinite(scores.candidates["score"]).all()
    assert len(scores.candidates) == sum(unit.size for unit in space.units)
    built = scores.build(top=5)
    assert len({space.key(arch) for arch in built}) == 5
    assert all(arch in space for arch in built)
    small = scores.narrow(top=2)
    assert [unit.size for unit in small.units] == [min(2, unit.size) for unit in space.units]
    space.realise(small.sample(1, seed=0)[0])
