"""Many image files to one array: what decodes them is chosen by whoever evaluates them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import CancelledError, ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from seedzoo.cpu import usable_cores
from seedzoo.errors import Cancelled, DataError
from seedzoo.inference.decode import DecodedImage, decode_image
from seedzoo.records import Preprocessing

__all__ = ["CRASHES", "MOST_HARMFUL", "TOO_SLOW", "DecodedBlock", "Decoder", "ThreadDecoder", "empty_pixels"]

CRASHES, TOO_SLOW = "IMAGE_CRASHES_DECODER", "IMAGE_TOO_SLOW"
"""Reasons why an image that harmed its decoder cannot be used."""
MOST_HARMFUL = 5
"""After so many images that harmed their decoders no more are tried."""


@dataclass(frozen=True, slots=True, eq=False)
class DecodedBlock:
    """n decoded images.

    Attributes:
        pixels: uint8 ``[n, height, width, channels]``; what could not be decoded has no meaning.
        outcomes: Of each image what was decoded (its pixels are a view of ``pixels``) or what is wrong with it; None
            where it was not tried, because too many others made decoders crash or hang.
    """

    pixels: NDArray[np.uint8]
    outcomes: tuple[DecodedImage | DataError | None, ...]


class Decoder(Protocol):
    """Decodes blocks of images; may be shared by threads."""

    def decode(
        self,
        contents: Sequence[bytes],
        preprocessing: Preprocessing,
        *,
        max_pixels: int,
        should_stop: Callable[[], bool] = lambda: False,
    ) -> DecodedBlock:
        """Decode these files.

        Args:
            contents: The n files.
            preprocessing: Size and channels that the task wants.
            max_pixels: Largest image that is decoded.
            should_stop: Asked now and then, from several threads.

        Raises:
            Cancelled: ``should_stop`` said so, or the decoder was closed meanwhile.
            LocalFailure: This machine cannot run the decoder.
        """
        ...

    def close(self) -> None:
        """Give back threads and processes; what is being decoded ends with Cancelled."""
        ...


class ThreadDecoder:
    """Threads of this process: nothing to start, and nothing between a broken decoder and this process.

    Args:
        threads: How many; the usable cores when omitted.
    """

    def __init__(self, threads: int | None = None) -> None:
        self._threads = ThreadPoolExecutor(threads or usable_cores(), thread_name_prefix="seedzoo-decode")

    def decode(
        self,
        contents: Sequence[bytes],
        preprocessing: Preprocessing,
        *,
        max_pixels: int,
        should_stop: Callable[[], bool] = lambda: False,
    ) -> DecodedBlock:
        """See :class:`Decoder`."""
        pixels = empty_pixels(len(contents), preprocessing)

        def decoded(index: int) -> DecodedImage | DataError:
            if should_stop():
                raise Cancelled("decoding was stopped")
            try:
                image = decode_image(contents[index], preprocessing, max_pixels=max_pixels)
            except DataError as error:
                return error
            pixels[index] = image.pixels
            return replace(image, pixels=pixels[index])

        try:
            return DecodedBlock(pixels, tuple(self._threads.map(decoded, range(len(contents)))))
        except CancelledError as error:
            raise Cancelled("the decoder was closed") from error

    def close(self) -> None:
        """See :class:`Decoder`."""
        self._threads.shutdown(cancel_futures=True)


def empty_pixels(n: int, preprocessing: Preprocessing) -> NDArray[np.uint8]:
    """Room for n images, uint8 ``[n, height, width, channels]``, not filled."""
    return np.empty((n, preprocessing.height, preprocessing.width, preprocessing.channels), dtype=np.uint8)
