"""Which conditions each suite holds: data only.

A suite lists kinds with the severities that it uses, in the order of its profile's rows; an empty tuple
stands for a kind that has no degrees. The suites of the published corruptions (`imagenet-c` and others) are made
from their tables, in `seedzoo.stress.corruptions.imagenet_c`.
"""

from __future__ import annotations

from collections.abc import Mapping

__all__ = ["SUITES"]

SUITES: Mapping[str, Mapping[str, tuple[int, ...]]] = {
    # The starter profile: images of 8 to 64 px with a bright object on a dark background.
    "small-images": {
        "id": (),
        "pixelate": (1, 2, 3, 4),
        "downscale": (1, 2),
        "brightness": (1, 2, 3),
        "darkness": (1, 2, 3),
        "contrast": (1, 2, 3, 4),
        "inversion": (),
        "gaussian-noise": (1, 2, 3),
        "shot-noise": (2,),
        "impulse-noise": (1, 2),
        "gaussian-blur": (1, 2, 3),
        "motion-blur": (1, 2),
        "rotation": (1, 2, 3),
        "translation": (1, 2),
        "zoom-out": (1, 2),
        "flip": (),
        "elastic": (1, 2),
        "thick": (1, 2),
        "thin": (1, 2),
        "occlusion": (1, 2),
        "background": (1, 2),
        "jpeg": (1, 2),
        "phone-photo": (1, 2),
    },
}
