"""What decodes users' images on a server."""

from __future__ import annotations

from seedzoo.inference.decoding import Decoder, ThreadDecoder
from seedzoo.inference.decoding_processes import ProcessDecoder, memory_for
from seedzoo_server.settings import ServerSettings

__all__ = ["decoder_of"]


def decoder_of(settings: ServerSettings) -> Decoder:
    """Processes, or threads where the settings say so; nothing runs before the first image."""
    if settings.decoder_processes == 0:
        return ThreadDecoder()
    return ProcessDecoder(
        settings.decoder_processes,
        image_s=settings.decoder_image_s,
        memory_bytes=memory_for(settings.max_pixels),
    )
