"""ImageNet-C's 19 corruptions (Hendrycks & Dietterich 2019) for images of any size from 8 px, grey or colour.

Own implementations of the published formulas, drawn per (condition, example). The names of the conditions are
``<suite>-<corruption>-<severity>``, for instance ``imagenet-c-gaussian-noise-3``; the suites ``imagenet-c``,
``cifar-c`` and ``mnist-c`` have the 15 corruptions of the mean corruption error with the constants of those data
sets, and ``<suite>-extra`` the 4 others. A name is also a file's name, so it holds no slash.

Where they differ from the originals: frost is computed (`frost`), the published data sets were stored as JPEG
after corruption (quality 85) and these images are not, and images of one channel stay so.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from seedzoo.stress.condition import Examples, Kind
from seedzoo.stress.corruptions.imagenet_c import blur, digital, frost, glass, noise, spatter, tone, weather
from seedzoo.stress.corruptions.imagenet_c.constants import COMMON, EXTRA, TABLES

__all__ = ["PUBLISHED_KINDS", "PUBLISHED_SUITES", "kind_name"]

_FUNCTIONS: Mapping[str, tuple[Callable[..., Examples], str]] = {
    "gaussian_noise": (noise.gaussian_noise, "Independent noise on every value"),
    "shot_noise": (noise.shot_noise, "The noise of few photons"),
    "impulse_noise": (noise.impulse_noise, "Black and white dots in every channel"),
    "defocus_blur": (blur.defocus_blur, "A lens out of focus"),
    "glass_blur": (glass.glass_blur, "Seen through rippled glass"),
    "motion_blur": (blur.motion_blur, "Smeared along a line"),
    "zoom_blur": (blur.zoom_blur, "Zoomed during the exposure"),
    "snow": (weather.snow, "Falling snow"),
    "frost": (frost.frost, "Frost on the window, computed, not the original's photographs"),
    "fog": (weather.fog, "Clouds of fog"),
    "brightness": (tone.brightness, "Brighter, hue and saturation kept"),
    "contrast": (tone.contrast, "Contrast lowered around the image's mean"),
    "elastic_transform": (digital.elastic_transform, "Stretched and bent"),
    "pixelate": (digital.pixelate, "Shown in fewer, larger blocks"),
    "jpeg_compression": (digital.jpeg_compression, "Strongly compressed as JPEG"),
    "speckle_noise": (noise.speckle_noise, "Noise in proportion to the value"),
    "gaussian_blur": (blur.gaussian_blur, "Gaussian blur"),
    "spatter": (spatter.spatter, "Drops of water or mud on the lens"),
    "saturate": (tone.saturate, "Less or more colour"),
}
_SEVERITIES = (1, 2, 3, 4, 5)


def kind_name(suite: str, corruption: str) -> str:
    """Name of a suite's kind of condition: ("imagenet-c", "gaussian_noise") -> "imagenet-c-gaussian-noise"."""
    return f"{suite}-{corruption.replace('_', '-')}"


PUBLISHED_KINDS = tuple(
    Kind(name=kind_name(suite, name), function=function, description=description, levels=table[name])
    for suite, table in TABLES.items()
    for name, (function, description) in _FUNCTIONS.items()
)

# Suite name -> kind name -> severities, as in `seedzoo.stress.suites`; each begins with the unchanged images.
PUBLISHED_SUITES: Mapping[str, Mapping[str, tuple[int, ...]]] = {
    suite + suffix: {"id": (), **{kind_name(suite, name): _SEVERITIES for name in names}}
    for suite in TABLES
    for suffix, names in (("", COMMON), ("-extra", EXTRA))
}
