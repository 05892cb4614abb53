"""Wait for the store, make its bucket, publish the starter family into an empty store; then become a command.

python prepare_store.py zoo serve      (the store is that of SEEDZOO_SERVER_STORE)
"""

from __future__ import annotations

import os
import signal
import sys
import time
from contextlib import closing
from urllib.parse import urlsplit

import boto3
from botocore.exceptions import BotoCoreError, ClientError

from seedzoo.catalog.catalog import Catalog
from seedzoo.catalog.open import open_store
from seedzoo.catalog.publish import publish
from seedzoo.errors import ZooError
from seedzoo.starter import starter_bundle

_PATIENCE_S = 60.0


def _make_bucket(name: str) -> None:
    """Do it; again and again while the store is still starting."""
    client = boto3.client("s3", endpoint_url=os.environ.get("SEEDZOO_S3_ENDPOINT"))
    until = time.monotonic() + _PATIENCE_S
    told = False
    while True:
        try:
            if name not in {found["Name"] for found in client.list_buckets()["Buckets"]}:
                client.create_bucket(Bucket=name)
            return
        except (BotoCoreError, ClientError) as error:
            if time.monotonic() > until:
                sys.exit(f"the store does not answer: {error}")
            if not told:
                sys.stderr.write("waiting for the store\n")
                told = True
            time.sleep(1)


def main() -> None:
    """Prepare the store, and end as the command in the arguments."""
    # The first process of a container ignores what it does not handle.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    url = os.environ["SEEDZOO_SERVER_STORE"]
    _make_bucket(urlsplit(url).netloc)
    try:
        with closing(open_store(url)) as store:
            # Only into an empty store: publishing moves the alias `stable`, which may mean another release by now.
            if not Catalog(store).family_names():
                publish(store, starter_bundle())
    except ZooError as error:
        sys.exit(f"the store cannot be prepared: {error.message}")
    os.execvp(sys.argv[1], sys.argv[1:])


if __name__ == "__main__":
    main()
