"""All quantised variants of all layers on disk, one file each, so that memory holds only those in use."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path

from torch import Tensor, nn

from autobuild.errors import QuantisationError
from autobuild.quant._files import write_tensors
from autobuild.quant.apply import Given, layer_weights
from autobuild.quant.weights import Choice, QuantisedWeight, quantise_weight

FORMAT = "1"  # a part of every key: raised when the same weight and choice give another result


class VariantCache:
    """Quantised weights by the content of the weight and the choice; several processes may use one folder.

    Args:
        folder: Where the files lie; made where it is missing.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)

    def get(
        self, weight: Tensor, choice: Given, *, exact: bool = False, half: bool = False, name: str = "weight"
    ) -> QuantisedWeight:
        """A variant from disk; it is computed and written first where it is missing.

        Args: as for :func:`~autobuild.quant.weights.quantise_weight`.

        Raises:
            QuantisationError: As that function; or a file in the folder is damaged, or cannot be written; the message
                names it.
        """
        from safetensors import SafetensorError, safe_open

        chosen = Choice.of(choice)
        how = f"{'-exact' if exact else ''}{'-half' if half else ''}"
        path = self.folder / f"{_digest(weight)}-{chosen}{how}-{FORMAT}.safetensors"
        if not path.is_file():
            made = quantise_weight(weight, chosen, exact=exact, half=half, name=name)
            write_tensors(path, dict(made.tensors), {"error": repr(made.error)})
            return made
        try:
            with safe_open(path, "pt") as file:
                about = file.metadata()
                tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
            found = QuantisedWeight(chosen, tuple(weight.shape), tensors, float(about["error"]))
            found.check(name)
            return found
        except (OSError, SafetensorError, QuantisationError, KeyError, TypeError, ValueError) as error:
            raise QuantisationError(f"{path}: damaged ({error}); remove it, and it is made again") from error

    def fill(self, model: nn.Module, choices: Iterable[Given], *, exact: bool = False) -> int:
        """Write all variants of all layers of a model, one layer in memory at a time.

        Args:
            model: The model.
            choices: What each layer may choose; a choice that a layer cannot have is left out.
            exact: Whether codebooks are those of least squared error.

        Returns:
            Number of variants that were left out.
        """
        listed, left_out = [Choice.of(choice) for choice in choices], 0
        for name, weight in layer_weights(model):
            for choice in listed:
                if choice.fits(weight.shape):
                    self.get(weight, choice, exact=exact, name=name)
                else:
                    left_out += 1
        return left_out


def _digest(weight: Tensor) -> str:
    plain = weight.detach().cpu().float().contiguous()
    found = hashlib.sha256(repr(tuple(plain.shape)).encode())
    found.update(plain.numpy().tobytes())
    return found.hexdigest()[:32]
