"""Protocol buffers of seedzoo and their generated stubs."""
