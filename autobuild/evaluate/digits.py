"""The embedded task: pictures of scikit-learn's handwritten digits on a larger canvas, with distortions and clutter.

Each picture has one digit of 8 x 8 grey levels, magnified, rotated, sheared and at a random position, and fragments of
other digits as clutter. Contrast and brightness vary, and noise is added. The 1,797 digits are split before pictures
are made, so that no digit of a test picture or its clutter is used in training. One seed determines everything: the
default arguments give the same dataset in every process.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from autobuild._typing import IntArray

Float32Array = NDArray[np.float32]

SIDE = 8  # pixels of scikit-learn's digits
MEAN, DEVIATION = 0.23, 0.21  # fixed, about those of the pictures


@dataclass(frozen=True)
class DigitTask:
    """Settings of the pictures; each of them changes how hard the task is.

    Args:
        canvas: Side of a picture in pixels.
        n_train, n_test: Numbers of pictures.
        test_digits: Number of the 1,797 digits that are held out for test pictures.
        scale: Range of the magnification.
        rotation: Largest rotation, in degrees, either way.
        shear: Largest shear, either way.
        noise: Standard deviation of the pixel noise (a digit's ink is 1 before contrast).
        clutter: Number of fragments in a picture.
        fragment: Side of a fragment in pixels of the 8 x 8 digit.
        ink: Brightness of the clutter.
        seed: Seed of the split and of the pictures.
    """

    canvas: int = 20
    n_train: int = 4800
    n_test: int = 3000
    test_digits: int = 597
    scale: tuple[float, float] = (1.3, 1.6)
    rotation: float = 12.0
    shear: float = 0.2
    noise: float = 0.05
    clutter: int = 1
    fragment: int = 3
    ink: float = 0.7
    seed: int = 20240


@dataclass(frozen=True)
class Pictures:
    """Pictures and the digits that they are made of.

    Attributes:
        images: Standardised pixels, float32. Shape ``(n, 1, canvas, canvas)``.
        classes: Classes 0 to 9. Shape ``(n,)``.
        digits: Numbers, among the 1,797, of the digits shown. Shape ``(n,)``.
        fragments: Numbers of the digits that the clutter was cut from. Shape ``(n, clutter)``.
    """

    images: Float32Array
    classes: IntArray
    digits: IntArray
    fragments: IntArray


@lru_cache(maxsize=2)
def digit_pictures(task: DigitTask = DigitTask()) -> tuple[Pictures, Pictures]:
    """The training and the test pictures of ``task``; made in about a second, and cached within a process."""
    from sklearn.datasets import load_digits

    source = load_digits()
    glyphs = (source.images / 16.0).astype(np.float32)
    labels = source.target.astype(np.int64)
    rng = np.random.Generator(np.random.PCG64(task.seed))
    order = rng.permutation(len(glyphs))
    held_out, kept = order[: task.test_digits], order[task.test_digits :]
    train = _pictures(task, glyphs, labels, kept, task.n_train, rng)
    test = _pictures(task, glyphs, labels, held_out, task.n_test, rng)
    return train, test


def _pictures(
    task: DigitTask, glyphs: Float32Array, labels: IntArray, pool: IntArray, n: int, rng: np.random.Generator
) -> Pictures:
    digits = np.resize(rng.permutation(pool), n)
    reach = SIDE / 2 * sum(task.scale) / 2
    images: NDArray[np.floating] = _paste(glyphs[digits], task, task.rotation, task.shear, reach, rng)
    fragments = np.empty((n, task.clutter), dtype=np.int64)
    for c in range(task.clutter):
        fragments[:, c] = rng.choice(pool, n)
        cut = glyphs[fragments[:, c]] * _windows(task.fragment, n, rng)
        images = np.maximum(images, task.ink * _paste(cut, task, 180.0, 0.0, 0.0, rng))
    contrast, brightness = rng.uniform(0.5, 1.0, (n, 1, 1)), rng.uniform(0.0, 0.3, (n, 1, 1))
    images = images * contrast + brightness + task.noise * rng.standard_normal(images.shape)
    standardised = ((images - MEAN) / DEVIATION).astype(np.float32)[:, None]
    for array in (standardised, digits, fragments):
        array.flags.writeable = False
    kinds: IntArray = labels[digits]
    return Pictures(standardised, kinds, digits.astype(np.int64), fragments)


def _windows(side: int, n: int, rng: np.random.Generator) -> Float32Array:
    """Square masks near the middle of a digit, where the ink is: ``(n, 8, 8)`` of 0 and 1."""
    last = SIDE - side
    corner = rng.integers(min(1, last), max(last, 1), (2, n, 1))
    pixel = np.arange(SIDE)
    rows, columns = ((pixel >= c) & (pixel < c + side) for c in corner)
    masks: Float32Array = (rows[:, :, None] & columns[:, None, :]).astype(np.float32)
    return masks


def _paste(
    glyphs: Float32Array, task: DigitTask, rotation: float, shear: float, reach: float, rng: np.random.Generator
) -> Float32Array:
    """Place each glyph at random on an empty canvas, its centre at least ``reach`` pixels from the edge.

    Shapes: ``glyphs (n, 8, 8)`` -> ``(n, canvas, canvas)``; bilinear interpolation of the inverse map.
    """
    n, canvas = len(glyphs), task.canvas
    scale = rng.uniform(*task.scale, (n, 1, 1))
    angle = np.deg2rad(rng.uniform(-rotation, rotation, (n, 1, 1)))
    room = max(canvas / 2 - reach, 0.0)
    centre_x, centre_y = rng.uniform(-room, room, (2, n, 1, 1))
    slant = rng.uniform(-shear, shear, (n, 1, 1))

    grid = np.arange(canvas) - (canvas - 1) / 2
    x, y = grid[None, None, :] - centre_x, grid[None, :, None] - centre_y
    cos, sin = np.cos(angle) / scale, np.sin(angle) / scale
    v = cos * y - sin * x
    u = cos * x + sin * y + slant * v

    side = SIDE + 2  # with one empty pixel on each side, so that pixels outside are 0
    padded = np.pad(glyphs, ((0, 0), (1, 1), (1, 1))).reshape(n, side * side)
    middle = (side - 1) / 2
    u = np.clip(u + middle, 0, side - 1 - 1e-4).astype(np.float32)
    v = np.clip(v + middle, 0, side - 1 - 1e-4).astype(np.float32)
    left, top = u.astype(np.int32), v.astype(np.int32)
    right_part, low_part = u - left, v - top
    flat = (top * side + left).reshape(n, -1)

    def corner(offset: int) -> Float32Array:
        taken: Float32Array = np.take_along_axis(padded, flat + offset, axis=1).reshape(u.shape)
        return taken

    upper = corner(0) * (1 - right_part) + corner(1) * right_part
    lower = corner(side) * (1 - right_part) + corner(side + 1) * right_part
    pasted: Float32Array = upper * (1 - low_part) + lower * low_part
    return pasted
