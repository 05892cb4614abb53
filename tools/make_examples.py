"""Make examples/mydata and examples/later from the users' part of Fashion-MNIST's test set.

Both hold 30 images of each class, as PNG files in class folders, seen through the same hazy, slightly turned and
soft camera. That degradation is none of the stored stress conditions.

    python tools/make_examples.py
"""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from seedzoo.training.data import load_data
from seedzoo.training.recipe import load_recipe

ROOT = Path(__file__).resolve().parent.parent
PER_CLASS = 30
SEED = 7


def hazy_camera(image: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    """Turn by up to 12 degrees, blur a little, lay a veil of light over it that falls off to one side, add grain."""
    height, width = image.shape
    turned = ndimage.rotate(image.astype(float), rng.uniform(-12, 12), reshape=False, order=1)
    soft = ndimage.gaussian_filter(turned, 0.6)
    slope = np.linspace(-1, 1, width)[np.newaxis, :] * rng.choice([-1, 1])
    veil = 40 + 20 * slope
    grain = rng.normal(0, 6, size=(height, width))
    return np.clip(veil + 0.7 * soft + grain, 0, 255).round().astype(np.uint8)


def main() -> None:
    recipe, _ = load_recipe(ROOT / "recipes" / "fashion-cnn.toml")
    data = load_data(recipe.data)
    images, labels = data.reserved.read(range(len(data.reserved.labels)))[..., 0], data.reserved.labels
    rng = np.random.default_rng(SEED)
    for folder in ("mydata", "later"):
        shutil.rmtree(ROOT / "examples" / folder, ignore_errors=True)
    for label, name in enumerate(data.classes):
        members = rng.permutation(np.flatnonzero(labels == label))
        for position, index in enumerate(members[: 2 * PER_CLASS]):
            folder = ROOT / "examples" / ("mydata" if position < PER_CLASS else "later") / name
            folder.mkdir(parents=True, exist_ok=True)
            number = position % PER_CLASS
            Image.fromarray(hazy_camera(images[index], rng)).save(folder / f"{number:02d}.png", optimize=True)


if __name__ == "__main__":
    main()
