"""Models quantised in place: restored to the bit, saved to the byte, loaded again, cached on disk."""

import json
import struct

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import nn

import autobuild as ab
from autobuild.errors import QuantisationError
from autobuild.quant import VariantCache, load_quantised, quantise_weight


class Tiny(nn.Module):
    """An embedding whose weight the last layer shares, a convolution, a linear layer and a buffer."""

    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(11, 24)
        self.conv = nn.Conv1d(24, 24, 3, padding=1)
        self.norm = nn.BatchNorm1d(24)
        self.fc = nn.Linear(24, 24)
        self.out = nn.Linear(24, 11, bias=False)
        self.out.weight = self.embed.weight

    def forward(self, tokens):
        hidden = self.norm(self.conv(self.embed(tokens).mT)).mT
        return self.out(torch.relu(self.fc(hidden)))


@pytest.fixture
def model():
    torch.manual_seed(0)
    return Tiny().eval()


TOKENS = torch.arange(11)[None]


def test_swaps_and_restores(model):
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    plain = model(TOKENS)
    with ab.quantise(model, {"conv": "kmc3", "fc": ("uaq", 4)}) as quantised:
        assert not torch.equal(model(TOKENS), plain)
        assert torch.equal(model.embed.weight, before["embed.weight"])
        change = (model.conv.weight.detach() - before["conv.weight"]).double().square().sum()
        assert float(change) == pytest.approx(quantised.weights["conv"].error, rel=1e-6)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert torch.equal(model(TOKENS), plain)
    assert quantised.avg_bits == pytest.approx((3 * 72 * 24 + 4 * 24 * 24) / (96 * 24))


def test_a_shared_weight_is_quantised_once(model):
    with ab.quantise(model, "uaq4") as quantised:
        assert set(quantised.weights) == {"embed", "conv", "fc"}
        assert quantised.shared == {"out": "embed"}
        assert model.out.weight is model.embed.weight
    with pytest.raises(QuantisationError, match="out shares its weight with embed"):
        ab.quantise(model, {"embed": "uaq4", "out": "uaq3"})


@pytest.mark.parametrize("activations", [None, 8])
def test_saved_to_the_byte_and_loaded(model, tmp_path, activations):
    path = tmp_path / "model.safetensors"
    quantised = ab.quantise(model, {"embed": "kma2", "conv": "kmc3", "fc": "uaq5"}, activations=activations)
    expected = model(TOKENS)
    quantised.save(path)
    data = path.read_bytes()
    (header,) = struct.unpack("<Q", data[:8])
    assert len(data) == 8 + header + quantised.size_bytes
    names = json.loads(data[8 : 8 + header])
    packed = sum(b - a for name, v in names.items() if ".weight." in name for a, b in [v["data_offsets"]])
    assert 8 * packed == quantised.stored_bits == int(quantised.table()["stored_bits"].sum())
    torch.manual_seed(1)
    other = Tiny().eval()
    loaded = load_quantised(other, path)
    assert torch.equal(other(TOKENS), expected)
    assert loaded.avg_bits == quantised.avg_bits
    assert loaded.quant_error == pytest.approx(quantised.quant_error)
    (about,) = names["__metadata__"].values()  # one entry: several would be written in a random order
    save_file(load_file(path), path, json.loads(about))  # as earlier versions wrote it
    older = Tiny().eval()
    kept = load_quantised(older, path)
    assert torch.equal(older(TOKENS), expected), kept


def test_a_model_that_is_one_layer(tmp_path):
    net, other = nn.Linear(24, 8), nn.Linear(24, 8)
    space = ab.quant_space(net, (1, 24), methods=("uaq",), bits=(4,))
    quantised = ab.quantise(net, "uaq4")
    quantised.save(tmp_path / "net.safetensors")
    held = sum(tensor.nbytes for tensor in load_file(tmp_path / "net.safetensors").values())
    assert held == quantised.size_bytes == ab.costs(space)["size_bytes"](["uaq4"])[0]
    load_quantised(other, tmp_path / "net.safetensors")
    assert torch.equal(other.weight, net.weight)


def test_activations_are_rounded_token_by_token(model):
    plain = model(TOKENS)
    errors = []
    for bits in (8, 6):
        with ab.quantise(model, {"fc": "uaq8"}, activations=bits):
            errors.append(float((model(TOKENS) - plain).detach().abs().max()))
    assert 0 < errors[0] < errors[1] < 0.5
    assert torch.equal(model(TOKENS), plain)  # the hooks are gone
    with pytest.raises(QuantisationError, match="activations=5"):
        ab.quantise(model, "uaq4", activations=5)
    assert torch.equal(model(TOKENS), plain)  # nothing is changed by what is refused


def test_cache_computes_a_variant_once(model, tmp_path, monkeypatch):
    cache = VariantCache(tmp_path / "variants")
    left_out = cache.fill(model, ["uaq4", "kmc5", "kma8"])
    files = sorted(path.name for path in cache.folder.iterdir())
    assert left_out == 2  # kmc5 of embed and fc, whose channels have 24 weights
    assert len(files) == 9 - left_out
    fresh = quantise_weight(model.conv.weight, "uaq4")
    monkeypatch.setattr("autobuild.quant.cache.quantise_weight", None)
    cached = ab.quantise(model, "uaq4", cache=cache).weights["conv"]
    assert torch.equal(cached.dequantised(), fresh.dequantised())
    assert cached.error == fresh.error


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"convv": "uaq4"}, "no weight layer 'convv': did you mean 'conv'"),
        ({}, "names no layer"),
        ("kmc8", "kmc8 fits no layer"),
        (4, "choice 4; accepted"),
    ],
)
def test_refused(model, config, message):
    with pytest.raises(QuantisationError, match=message):
        ab.quantise(model, config)


def test_files_that_do_not_match(model, tmp_path):
    path = tmp_path / "model.safetensors"
    with ab.quantise(model, "uaq4") as quantised:
        quantised.save(path)
    with pytest.raises(QuantisationError, match="no weight layer 'embed'"):
        load_quantised(nn.Sequential(nn.Linear(24, 24)), path)
    wider = Tiny()
    wider.extra = nn.Linear(3, 3)
    with pytest.raises(QuantisationError, match=r"lacks 'extra\.weight'"):
        load_quantised(wider, path)
    path.write_bytes(b"nothing")
    with pytest.raises(QuantisationError, match="cannot be read"):
        load_quantised(model, path)


@pytest.mark.parametrize("damage", [
    {"weights": "{"}, {"weights": "[]"}, {"weights": '{"fc": {}}'}, {"weights": None}, {"activations": "99"},
    {"weights": '{"fc": {"choice": "uaq4", "shape": [24, 24], "error": "x"}}'},
    {"weights": '{"fc": {"choice": "uaq4", "shape": 24, "error": 0}}'},
    "embed.weight.codes", "embed.weight.scale", "embed.weight.zero", "conv.bias",
])  # fmt: skip
def test_a_damaged_file_is_refused_and_changes_nothing(model, tmp_path, damage):
    path = tmp_path / "model.safetensors"
    with ab.quantise(model, "uaq4") as quantised:
        quantised.save(path)
    with safe_open(path, "pt") as file:
        metadata = json.loads(file.metadata()["about"])
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    if isinstance(damage, str):
        tensors[damage] = tensors[damage].flatten()[:1].clone()
    else:
        metadata = {key: text for key, text in {**metadata, **damage}.items() if text is not None}
    save_file(tensors, path, {"about": json.dumps(metadata)})
    other = Tiny()
    before = {name: tensor.clone() for name, tensor in other.state_dict().items()}
    with pytest.raises(QuantisationError):
        load_quantised(other, path)
    assert all(torch.equal(tensor, before[name]) for name, tensor in other.state_dict().items())


def test_a_damaged_variant_is_named(model, tmp_path):
    cache = VariantCache(tmp_path)
    ab.quantise(model, {"conv": "uaq4"}, cache=cache).restore()
    (path,) = tmp_path.iterdir()
    with safe_open(path, "pt") as file:
        metadata, tensors = file.metadata(), {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    save_file({**tensors, "scale": tensors["scale"][:1].clone()}, path, metadata)
    with pytest.raises(QuantisationError, match=r"damaged .*remove it"):
        ab.quantise(model, {"conv": "uaq4"}, cache=cache)
