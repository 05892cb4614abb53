"""Making families: recipes, seeds, training, export and the certificate of equal accuracy.

Needs the ``[train]`` extra; nothing outside this package imports torch.
"""
