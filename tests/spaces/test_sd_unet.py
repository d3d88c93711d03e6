"""U-Nets like Stable Diffusion's: the space's graph, and the networks that diffusers builds from it."""

import sys
import warnings

import pytest

import autobuild as ab
from autobuild.errors import SpaceError
from autobuild.spaces.registry import declaration
from autobuild.testing import SearchSpaceConformance

SD_V1 = "w1.0n2a1|w1.0n2a1|w1.0n2a1|w1.0n2a0|attention|a0|a1|a1|a1"
SMALL = {"base_width": 40, "cross_attention_dim": 24}


class TestSdUnet(SearchSpaceConformance):
    @pytest.fixture
    def space(self):
        return ab.space("sd_unet")


@pytest.fixture(scope="module")
def build():
    """Realise on the meta device by default: shapes and counts need no numbers."""
    pytest.importorskip("diffusers", reason="diffusers is not installed: pip install 'autobuild-nas[diffusion]'")
    torch = pytest.importorskip("torch")
    space = ab.space("sd_unet")

    def make(text, device="meta", **options):
        with warnings.catch_warnings(), torch.device(device):
            warnings.simplefilter("ignore")  # a torchvision without operators is said, and no matter here
            return declaration("sd_unet").realise(space.layers(space.parse(text)), **options).eval()

    return make


def params(net):
    return sum(p.numel() for p in net.parameters())


def test_size_and_graph():
    space = ab.space("sd_unet")
    assert space.size == (4 * 3 * 2) ** 4 * 3 * 2**4
    graph = space.graph(space.parse(SD_V1))
    assert [node["unit"] for node in graph.nodes] == [
        *("down1", "down2", "down3", "down4"),
        "middle",
        *("up4", "up3", "up2", "up1"),
    ]
    names = {(graph.nodes[a]["unit"], graph.nodes[b]["unit"]) for a, b in graph.edges}
    assert {(f"down{i}", f"up{i}") for i in (1, 2, 3, 4)} <= names
    assert len(graph.edges) == 8 + 4


def test_parameters_of_stable_diffusion_are_the_published_ones(build):
    """859,520,964 for Stable Diffusion v1 (4 input channels); inpainting adds 5 channels to one 3 x 3 convolution."""
    assert params(build(SD_V1, in_channels=4)) == 859_520_964
    assert params(build(SD_V1)) == 859_520_964 + 5 * 320 * 9


def test_every_choice_changes_the_parameters_as_declared(build):
    space = ab.space("sd_unet")
    middle = space.parse("w0.8n2a0|w0.8n2a0|w0.8n2a0|w0.8n2a0|plain|a0|a0|a0|a0")
    count = params(build(middle.text, **SMALL))
    order = {
        value: rank
        for feature in (feature.values for feature in space.features)
        for rank, value in enumerate(feature)
        if isinstance(value, str)
    }
    seen = 0
    for other in space.neighbours(middle):
        steps = [
            (old[name], new[name])
            for (old,), (new,) in zip(space.layers(middle), space.layers(other), strict=True)
            for name in old
            if old[name] != new[name]
        ]
        ((old, new),) = steps
        more = order[new] > order[old] if isinstance(new, str) else new > old
        assert (params(build(other.text, **SMALL)) > count) == more, other.text
        seen += 1
    assert seen == 4 * (3 + 2 + 1) + 2 + 4


@pytest.mark.parametrize(
    "text",
    [
        SD_V1,
        "w0.6n1a0|w1.2n3a1|w0.8n1a1|w1.0n2a1|none|a1|a0|a1|a0",
        "w1.2n3a0|w0.6n1a0|w1.0n2a0|w0.8n1a0|plain|a0|a0|a0|a0",
    ],
)
def test_small_networks_run(build, text):
    import torch

    torch.manual_seed(0)
    net = build(text, device="cpu", **SMALL)
    latents, steps, words = torch.randn(2, 9, 16, 24), torch.tensor([3, 900]), torch.randn(2, 5, 24)
    with torch.no_grad():
        out = net(latents, steps, words).sample
        other_words = net(latents, steps, words + 1).sample
    assert out.shape == (2, 4, 16, 24)
    assert out.isfinite().all()
    assert torch.equal(out, other_words) == ("a1" not in text and "attention" not in text)


@pytest.mark.slow
@pytest.mark.parametrize("sample", range(3))
def test_export_compile_and_onnx_compute_the_same(build, tmp_path, sample):
    """Three random networks of small width; compiled up to AOT Autograd."""
    import torch

    ort = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    torch.manual_seed(sample)
    text = ab.space("sd_unet").sample(3, seed=0)[sample].text
    net = build(text, device="cpu", **SMALL)
    inputs = (torch.randn(1, 9, 16, 16), torch.tensor([7]), torch.randn(1, 5, 24))
    path = str(tmp_path / "unet.onnx")
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        out = net(*inputs).sample
        assert torch.equal(torch.export.export(net, inputs).module()(*inputs).sample, out)
        torch._dynamo.reset()
        assert torch.allclose(torch.compile(net, backend="aot_eager", fullgraph=True)(*inputs).sample, out, atol=1e-5)
        torch.onnx.export(net, inputs, path, dynamo=True, external_data=False, verbose=False)
    session = ort.InferenceSession(path, providers=["CPUExecutionProvider"])
    names = [given.name for given in session.get_inputs()]
    assert names == list(declaration("sd_unet").INPUTS)
    (got,) = session.run(None, {name: value.numpy() for name, value in zip(names, inputs, strict=True)})
    assert abs(got - out.numpy()).max() < 1e-4


def test_the_export_job_says_that_it_writes_networks_of_one_input(tmp_path, monkeypatch, capsys):
    from autobuild.cli import main

    monkeypatch.chdir(tmp_path)
    assert main(["export", "space=sd_unet", f"archs={SD_V1}", "format=onnx", "shape=[9,64,64]"]) == 2
    assert "take sample, timestep, encoder_hidden_states" in capsys.readouterr().err


def test_a_width_that_does_not_divide_is_refused():
    for width in (0, 100, -40):
        with pytest.raises(SpaceError, match="multiples of 40"):
            declaration("sd_unet").space(base_width=width)


def test_without_diffusers_the_error_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "diffusers", None)
    with pytest.raises(SpaceError, match=r"diffusers is missing.*pip install 'autobuild-nas\[diffusion\]'"):
        ab.space("sd_unet").realise(SD_V1)


def test_realise_through_the_space_takes_the_defaults_of_inpainting(build):
    import torch

    with torch.device("meta"):
        net = ab.space("sd_unet").realise(SD_V1)
    assert (net.config.in_channels, net.config.out_channels) == (9, 4)
