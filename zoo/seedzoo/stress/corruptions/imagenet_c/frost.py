"""Frost on the window. The texture is computed and is NOT the original's.

ImageNet-C lays crops of six photographs over the image; their licence is unclear, so none is shipped here.
Instead there are six computed textures of feather-like ice crystals. Each has the mean and the standard deviation
per colour channel of one of the photographs, and the formula that lays it over the image is the published one.
So severities are comparable in their distribution, and no single image is.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from seedzoo.stress.corruptions.imagenet_c.common import luminance, published_corruption
from seedzoo.stress.corruptions.imagenet_c.weather import plasma
from seedzoo.stress.corruptions.images import Floats, Images, box_weights, separable
from seedzoo.stress.draws import Draws

__all__ = ["frost", "frost_texture"]

_SIDE = 512
# Points along a crystal's spine, branches on either side of it, points along a branch.
_SPINE, _BRANCHES, _BRANCH = 150, 28, 30
_NEEDLES = 9000


@dataclass(frozen=True, kw_only=True)
class _Style:
    """One texture.

    Attributes:
        mean: Of red, green and blue, as measured on the photograph.
        sd: Standard deviations of these.
        crystals: How many.
        length: Of the longest, in pixels.
        film: Weight of the smooth film of ice between the crystals.
    """

    mean: tuple[float, float, float]
    sd: tuple[float, float, float]
    crystals: int
    length: float
    film: float


_STYLES = (
    _Style(mean=(78, 149, 166), sd=(27, 16.5, 15), crystals=250, length=120, film=1.3),
    _Style(mean=(201, 205, 214), sd=(21, 22, 23), crystals=450, length=160, film=0.7),
    _Style(mean=(201, 205, 214), sd=(21, 22, 23), crystals=600, length=110, film=0.7),
    _Style(mean=(138, 153, 165), sd=(28.5, 28.5, 30), crystals=900, length=70, film=0.7),
    _Style(mean=(112, 123, 135), sd=(44, 43, 42), crystals=400, length=130, film=1),
    _Style(mean=(71, 95, 104), sd=(35, 43, 47), crystals=150, length=260, film=1.2),
)


@published_corruption
def frost(images: Images, draws: Draws, *, kept: float, frost: float, scale: float) -> Floats:
    """Kept x + frost texture, with a random one of six textures, read from a random place.

    Args:
        images: uint8 [n, height, width, channels].
        draws: The examples' random streams.
        kept: Factor of the image.
        frost: Factor of the texture.
        scale: At which the texture is shown; 1 has crystals of some 40 to 220 pixels.
    """
    height, width, channels = images.shape[1:]
    chosen = draws.uniform(3)
    bank = _bank(height, width, channels, scale)
    side = bank.shape[1] - height
    which, top, left = (chosen * (len(_STYLES), side, side)).astype(np.int64).T.tolist()
    result = np.empty(images.shape, dtype=np.float32)
    for image, out, k, y, x in zip(images, result, which, top, left, strict=True):
        np.multiply(bank[k, y : y + height, x : x + width], np.float32(frost), out=out)
        np.add(out, image * np.float32(kept), out=out)
    return result


@functools.lru_cache(maxsize=4)
def _bank(height: int, width: int, channels: int, scale: float) -> Images:
    """All textures, uint8 [6, side + height, side + width, channels]: tiles that go on at the other side."""
    tiles = np.stack([frost_texture(k) for k in range(len(_STYLES))])
    if scale != 1:
        side = round(_SIDE * scale)
        shrink = box_weights(np.linspace(0, _SIDE, side + 1), _SIDE)
        tiles = separable(tiles, shrink, shrink).astype(np.uint8)
    if channels == 1:
        tiles = luminance(tiles).astype(np.uint8)
    return np.pad(tiles, ((0, 0), (0, height), (0, width), (0, 0)), mode="wrap")


@functools.cache
def frost_texture(number: int) -> Images:
    """One of the six textures, uint8 [512, 512, 3]; it continues at the opposite side."""
    style = _STYLES[number]
    draws = Draws("frost texture", np.array([number]))
    crystals, needles = _crystals(draws, style), _needles(draws)
    ice = ndimage.gaussian_filter(np.sqrt(crystals), 0.8, mode="wrap")
    grain = ndimage.gaussian_filter(np.sqrt(needles), 0.6, mode="wrap")
    patches = ndimage.gaussian_filter(np.sqrt(crystals), 6, mode="wrap")
    parts = (
        (1.0, ice),
        (0.65, _flanks(ice)),
        (0.3, grain),
        (0.3, _flanks(grain)),
        (0.5, patches),
        (style.film, plasma(draws, _SIDE, 1.6)[0]),
    )
    mixed = sum(weight * (part - part.mean()) / part.std() for weight, part in parts)
    shade = np.clip(mixed / mixed.std(), -2.5, 3)
    shade = (shade - shade.mean()) / shade.std()
    texture: Images = np.clip(shade[..., None] * style.sd + style.mean, 0, 255).astype(np.uint8)
    return texture


def _flanks(ice: NDArray[np.float64]) -> NDArray[np.float64]:
    """Light from one side: bright where the ice rises towards it, dark where it falls."""
    return ice - np.roll(ice, (1, 1), axis=(0, 1))


def _crystals(draws: Draws, style: _Style) -> NDArray[np.float64]:
    """How much ice lies on each pixel: spines with branches that leave them slantwise, shorter to the tip."""
    count = style.crystals
    y, x, turn, size, slant = draws.uniform(5, count)[0][:, :, None]
    turn, size = 2 * np.pi * turn, style.length * (0.2 + 0.8 * size**2)
    along = np.linspace(0, 1, _SPINE)
    # The spine bends a little.
    bend = turn + 0.7 * (draws.uniform(count, 1)[0] - 0.5) * along
    spine_y, spine_x = y * _SIDE + size * along * np.sin(bend), x * _SIDE + size * along * np.cos(bend)

    root = np.linspace(0.04, 0.95, _BRANCHES)
    reach = size * (0.2 + 0.2 * slant) * (1 - root) ** 0.8 * (0.2 + 0.8 * draws.uniform(2, count, _BRANCHES)[0])
    # Branches are about 4 pixels apart in small crystals too.
    apart = np.ceil(4 * _BRANCHES / size)
    grown = np.arange(_BRANCHES) % apart == 0
    start = np.rint(root * (_SPINE - 1)).astype(np.int64)
    leave = turn + np.array([1, -1])[:, None, None] * np.pi * (0.14 + 0.17 * slant)
    out = np.linspace(0, 1, _BRANCH)
    branch_y = spine_y[:, start, None] + (reach * np.sin(leave))[..., None] * out
    branch_x = spine_x[:, start, None] + (reach * np.cos(leave))[..., None] * out
    bright = 0.3 + draws.uniform(count, 1)[0]
    fading = np.broadcast_to((grown * bright * reach / _BRANCH)[..., None] * (1 - 0.8 * out), branch_y.shape)
    thick = np.broadcast_to(bright * size / _SPINE * (2.5 - 2 * along), spine_y.shape)
    return _splat(
        np.concatenate([branch_y.ravel(), spine_y.ravel()]),
        np.concatenate([branch_x.ravel(), spine_x.ravel()]),
        np.concatenate([fading.ravel(), thick.ravel()]),
    )


def _needles(draws: Draws) -> NDArray[np.float64]:
    """The grain of the ice between the crystals: short straight needles everywhere."""
    y, x, turn, size = draws.uniform(4, _NEEDLES)[0][:, :, None]
    along = np.linspace(0, 4 + 36 * size[:, 0] ** 3, _BRANCH, axis=1)
    places = y * _SIDE + along * np.sin(2 * np.pi * turn), x * _SIDE + along * np.cos(2 * np.pi * turn)
    weight = np.broadcast_to(along[:, 1:2], along.shape)
    return _splat(places[0].ravel(), places[1].ravel(), weight.ravel())


def _splat(y: NDArray[np.float64], x: NDArray[np.float64], weight: NDArray[np.float64]) -> NDArray[np.float64]:
    """Add weighted points to the four pixels around each, on a torus."""
    seen = weight > 0
    y, x, weight = y[seen] % _SIDE, x[seen] % _SIDE, weight[seen]
    top, left = y.astype(np.int64), x.astype(np.int64)
    down, right = y - top, x - left
    total = np.zeros(_SIDE * _SIDE)
    for row, high in ((top, 1 - down), ((top + 1) % _SIDE, down)):
        for column, wide in ((left, 1 - right), ((left + 1) % _SIDE, right)):
            total += np.bincount(row * _SIDE + column, weight * high * wide, minlength=_SIDE * _SIDE)
    return total.reshape(_SIDE, _SIDE)
