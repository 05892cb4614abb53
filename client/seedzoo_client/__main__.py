"""`python -m seedzoo_client` is `zoo`."""

from seedzoo_client.cli import main

main(prog_name="zoo")
