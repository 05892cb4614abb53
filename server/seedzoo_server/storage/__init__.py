"""What the server keeps for its users in the object store: datasets and selections, below ``tenants/<tenant>/``."""
