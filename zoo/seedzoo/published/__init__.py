"""Published results as families of their own: tables of model x condition become bundles that can be browsed."""

from __future__ import annotations

from seedzoo.published.bundle import Imported, write_published
from seedzoo.published.formats import FORMATS, guess_format, read_published
from seedzoo.published.table import PublishedTable

__all__ = ["FORMATS", "Imported", "PublishedTable", "guess_format", "read_published", "write_published"]
