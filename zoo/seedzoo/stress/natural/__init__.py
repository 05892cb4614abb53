"""Natural shifts: test sets that a user has on disk, as sets that a family is measured on.

A set is described by a small TOML file (see :class:`~seedzoo.stress.natural.set_file.SetFile`); those of ObjectNet,
ImageNet-V2 and the like lie in ``sets/`` with their label maps.
"""

from seedzoo.stress.natural.assemble import NaturalSet
from seedzoo.stress.natural.load import load_natural
from seedzoo.stress.natural.set_file import SetFile, known_sets

__all__ = ["NaturalSet", "SetFile", "known_sets", "load_natural"]
