"""Take apart the objects that a network reads and returns beside tensors, such as a cache of keys and values.

``torch.export`` accepts tensors, numbers and texts in tuples, lists and dicts, and objects of registered classes. The
tensors of other objects are inputs and outputs like all others.
"""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Iterator, Mapping
from numbers import Number
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch
    from torch import nn


@contextlib.contextmanager
def tensors_alone(
    model: nn.Module, positional: tuple[Any, ...], keywords: dict[str, Any]
) -> Iterator[tuple[tuple[Any, ...], dict[str, Any]]]:
    """Let a network read and return lists of tensors instead of objects, until the context ends.

    Args:
        model: The network; it gets hooks, which are removed.
        positional: Arguments of the call.
        keywords: Arguments by name.

    Returns:
        The arguments, with a list of its tensors in place of every object.
    """
    from torch.utils import _pytree

    given, form = _pytree.tree_flatten((positional, keywords))
    parts = [[leaf] if _is_plain(leaf) else tensors_in(leaf) for leaf in given]
    opened = _pytree.tree_unflatten(
        [leaf if _is_plain(leaf) else part for leaf, part in zip(given, parts, strict=True)], form
    )

    def read(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        leaves = iter(_pytree.tree_leaves((args, kwargs)))
        made = []
        for leaf, part in zip(given, parts, strict=True):
            own = [next(leaves) for _ in part]
            memo: dict[int, Any] = {id(before): now for before, now in zip(part, own, strict=True)}
            made.append(own[0] if _is_plain(leaf) else copy.deepcopy(leaf, memo))
        return _pytree.tree_unflatten(made, form)

    def returned(module: nn.Module, args: tuple[Any, ...], outputs: Any) -> Any:
        leaves = _pytree.tree_leaves(outputs)
        return outputs if all(map(_is_plain, leaves)) else [part for leaf in leaves for part in tensors_in(leaf)]

    with contextlib.ExitStack() as hooks:
        hooks.callback(model.register_forward_hook(returned).remove)
        if not all(map(_is_plain, given)):
            hooks.callback(model.register_forward_pre_hook(read, with_kwargs=True).remove)
        yield opened


def _is_plain(leaf: Any) -> bool:
    import torch

    return leaf is None or isinstance(leaf, torch.Tensor | Number | str | torch.dtype | torch.device)


def tensors_in(value: Any) -> list[torch.Tensor]:
    """The tensors in an object of any class, each once."""
    import torch

    found, seen, left = [], set(), [value]
    while left:
        held = left.pop()
        if id(held) in seen or isinstance(held, torch.nn.Module | type):
            continue
        seen.add(id(held))
        if isinstance(held, torch.Tensor):
            found.append(held)
        elif isinstance(held, list | tuple | set | Mapping):
            left += reversed(list(held.values() if isinstance(held, Mapping) else held))
        else:
            left += reversed(list(getattr(held, "__dict__", {}).values()))
    return found
