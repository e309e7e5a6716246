"""A run from a bucket into a bucket against the local run: same tables, and what it costs.

    python benchmarks/bucket.py IMAGES [--storm] [--workers 2]

A server that speaks S3 (moto) and a counting proxy run beside it, all on this machine: requests and bytes are those of
any store, seconds are those of two Python servers on the same cores. `--storm` refuses 10 % of all requests (503), cuts
5 % of the answers and delays 2 % by 0.3 s.
"""

from __future__ import annotations

import argparse
import io
import logging
import os
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

import boto3
import pandas as pd
from moto.server import ThreadedMotoServer
from s3_proxy import Proxy


def run(*sources: str, out: str, workers: int) -> tuple[float, int]:
    """Run the command; seconds and exit status."""
    start = time.perf_counter()
    line = [sys.executable, "-m", "cohort", "run", *sources, "-o", out, "--workers", str(workers), "--json"]
    done = subprocess.run(line, stdout=subprocess.DEVNULL, check=False)
    return time.perf_counter() - start, done.returncode


def on_disk(out: Path) -> dict[str, bytes]:
    """Return every file of a run."""
    return {path.relative_to(out).as_posix(): path.read_bytes() for path in out.rglob("*") if path.is_file()}


def in_bucket(client: Any, bucket: str) -> dict[str, bytes]:
    """Return every object of a run."""
    pages = client.get_paginator("list_objects_v2").paginate(Bucket=bucket)
    keys = [found["Key"] for page in pages for found in page.get("Contents", ())]
    return {key.removeprefix("out/"): client.get_object(Bucket=bucket, Key=key)["Body"].read() for key in keys}


def tables(found: dict[str, bytes]) -> dict[str, Any]:
    """Every table without what says where its rows lie, rows in order; histograms and labels included."""
    kept = {}
    for name in ("volumes", "series", "statistics/volumes", "statistics/histograms", "statistics/spacing"):
        frame = pd.read_parquet(io.BytesIO(found[f"{name}.parquet"]))
        plain = frame.drop(columns=["source", "frames_part"], errors="ignore").map(repr)
        kept[name] = plain.sort_values(list(plain.columns)).reset_index(drop=True)
    return kept


def main() -> None:
    """Run three ways and compare."""
    parser = argparse.ArgumentParser()
    parser.add_argument("images", type=Path)
    parser.add_argument("--storm", action="store_true")
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    port = server.get_host_and_port()[1]
    keys = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_REGION": "us-east-1"}
    os.environ.update(keys, AWS_ALLOW_HTTP="true", AWS_ENDPOINT_URL=f"http://127.0.0.1:{port}")
    client = boto3.client("s3", endpoint_url=f"http://127.0.0.1:{port}", region_name="us-east-1")
    for bucket in ("images", "results"):
        client.create_bucket(Bucket=bucket)
    for path in sorted(options.images.rglob("*")):
        if path.is_file():
            client.put_object(Bucket="images", Key=str(path.relative_to(options.images)), Body=path.read_bytes())
    proxy = Proxy(port, 0.10, 0.05, 0.02, 0.3) if options.storm else Proxy(port)
    threading.Thread(target=proxy.serve_forever, daemon=True).start()
    with tempfile.TemporaryDirectory() as folder:
        local, both = Path(folder) / "local", Path(folder) / "both"
        print(
            "folder -> folder: {:.1f} s, exit {}".format(
                *run(str(options.images), out=str(local), workers=options.workers)
            )
        )
        os.environ["AWS_ENDPOINT_URL"] = f"http://127.0.0.1:{proxy.server_port}"
        print(
            "bucket -> bucket: {:.1f} s, exit {}".format(
                *run("s3://images", out="s3://results/out", workers=options.workers)
            )
        )
        report(proxy)
        found = in_bucket(client, "results")
        os.environ["AWS_ENDPOINT_URL"] = f"http://127.0.0.1:{port}"
        print("bucket -> folder: {:.1f} s, exit {}".format(*run("s3://images", out=str(both), workers=options.workers)))
        here = on_disk(both)
        different = [name for name in here.keys() | found.keys() if here.get(name) != found.get(name)]
        print(f"against bucket -> folder: {len(found)} files; other bytes in {len(different)}: {sorted(different)[:9]}")
        mine, theirs = tables(found), tables(on_disk(local))
        wrong = {name: _difference(mine[name], theirs[name]) for name in mine}
        print(f"against folder -> folder, values of the tables: {wrong}")
    print(f"results: {sum(map(len, found.values())):,} bytes")


def _difference(mine: Any, theirs: Any) -> str:
    if mine.equals(theirs):
        return f"equal, {len(mine):,} rows"
    if mine.shape != theirs.shape:
        return f"{mine.shape} and {theirs.shape}"
    return ", ".join(
        f"{name} in {(mine[name] != theirs[name]).sum()} rows" for name in mine if any(mine[name] != theirs[name])
    )


def report(proxy: Proxy) -> None:
    """Print what went through the proxy."""
    total = sum(proxy.methods.values())
    methods = ", ".join(f"{name} {count:,}" for name, count in sorted(proxy.methods.items()))
    of_source = sum(sent for key, sent in proxy.sent.items() if key.startswith("/images"))
    asked = sum(count for key, count in proxy.requests.items() if key.startswith("/images"))
    print(f"  {total:,} requests ({methods}); {asked:,} of them to the source")
    sent = sum(proxy.sent.values())
    print(f"  sent by the store {sent:,} bytes, {of_source:,} of the source; received {proxy.received:,}")
    print(f"  refused {proxy.refused:,}, cut {proxy.dropped:,}, delayed {proxy.delayed:,}")


if __name__ == "__main__":
    main()
