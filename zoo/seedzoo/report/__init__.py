"""A stress profile as one HTML page: no scripts, nothing loaded from elsewhere."""

from __future__ import annotations

from seedzoo.report.page import render_report
from seedzoo.report.source import Profiled, load_profiled

__all__ = ["Profiled", "load_profiled", "render_report"]
