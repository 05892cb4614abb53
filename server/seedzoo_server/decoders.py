"""What decodes users' images on a server."""

from __future__ import annotations

import logging
import sys

from seedzoo.errors import RequestError
from seedzoo.inference.decoding import Decoder, ThreadDecoder
from seedzoo.inference.decoding_process import Death
from seedzoo.inference.decoding_processes import ProcessDecoder, memory_for, works_here
from seedzoo_server.metrics import Metrics
from seedzoo_server.settings import ServerSettings

__all__ = ["decoder_of"]

_log = logging.getLogger(__name__)


def decoder_of(settings: ServerSettings, metrics: Metrics) -> Decoder:
    """Processes, or threads where the settings say so; nothing runs before the first image.

    Args:
        settings: See there.
        metrics: Counts processes that die.

    Raises:
        RequestError: The settings want processes, and this system cannot limit them.
    """
    if settings.decoder_processes == 0:
        return ThreadDecoder()
    if not works_here():
        if settings.decoder_processes is not None:
            raise RequestError(
                f"decoder_processes is {settings.decoder_processes}, and this system ({sys.platform}) cannot limit "
                "what such processes use",
                hint="Set it to 0 to decode in the server's threads, or serve on Linux or macOS.",
                field="decoder_processes",
            )
        _log.warning(
            "images are decoded in threads of the server: this system (%s) has no limits for processes of their own, "
            "so an image that crashes its decoder ends the server",
            sys.platform,
        )
        return ThreadDecoder()

    def died(death: Death) -> None:
        metrics.decoder_died(death.cause)
        _log.warning("a decoding process ended (%s) and is replaced; its image: %s", death.cause, death.message)

    return ProcessDecoder(
        settings.decoder_processes,
        image_s=settings.decoder_image_s,
        memory_bytes=memory_for(settings.max_pixels),
        on_death=died,
    )
