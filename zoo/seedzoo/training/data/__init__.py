"""Training data: one module per source, all of which give labelled images split as a recipe's ``[data]`` says."""

from seedzoo.training.data.idx import read_idx
from seedzoo.training.data.load import load_data
from seedzoo.training.data.record import ImageData

__all__ = ["ImageData", "load_data", "read_idx"]
