"""Make the bucket of SEEDZOO_SERVER_STORE where it does not exist, and publish the starter family there."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from urllib.parse import urlsplit

import boto3
from botocore.exceptions import BotoCoreError, ClientError

_PATIENCE_S = 60.0


def main() -> int:
    """Do it; again and again while the store is still starting."""
    store = os.environ["SEEDZOO_SERVER_STORE"]
    bucket = urlsplit(store).netloc
    client = boto3.client("s3", endpoint_url=os.environ.get("SEEDZOO_S3_ENDPOINT"))
    until = time.monotonic() + _PATIENCE_S
    while True:
        try:
            if bucket not in {found["Name"] for found in client.list_buckets()["Buckets"]}:
                client.create_bucket(Bucket=bucket)
            break
        except (BotoCoreError, ClientError) as error:
            if time.monotonic() > until:
                sys.exit(f"the store does not answer: {error}")
            time.sleep(1)
    return subprocess.run(["zoo", "publish", "--starter", "--store", store], check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
