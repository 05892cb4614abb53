"""`python -m seedzoo_client` is `zoo`."""

from seedzoo_client.entry import main

main()
