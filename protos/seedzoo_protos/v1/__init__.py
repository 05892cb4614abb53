"""API version 1 (package ``seedzoo.v1``)."""
