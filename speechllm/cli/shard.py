"""`speechllm data shard`: a manifest's sounds in tar files, read in one go from any place."""

import argparse
from pathlib import Path

from speechllm.cli.options import number
from speechllm.ranges import AboveZero, Workers

EPILOG = """Each shard is a tar file as WebDataset has them (KEY.flac beside KEY.json); the manifest
written beside them refers to places in them and is used as any other. FLAC, Ogg and MP3 files go in
byte for byte; WAV, and what a row cuts out of a file or a channel, becomes FLAC of 16 or 24 bits.
Rows are shuffled once by --seed, so that the rows of a shard, and of a window of the training
(`--set data.window=20000`: rows that are shuffled together), are drawn from everywhere.

An address (s3://, http://, gs://, whatever fsspec knows and is installed for) may stand in place of
a folder: --manifest is then the manifest on this disk. S3 takes its keys, and a server that is not
Amazon's, from AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_ENDPOINT_URL. When shards are read
from elsewhere, each is fetched whole into FEATURES_SHARDS, of at most FEATURES_SHARDS_GB (50).

examples:
  speechllm data shard data/train.jsonl --out shards
  speechllm data shard data/train.jsonl --out s3://bucket/train --manifest data/train.s3.jsonl
  speechllm train mini --data train=shards/train.jsonl --set data.window=20000 ..."""


def add(parser: argparse.ArgumentParser) -> None:
    """Describe the options."""
    parser.add_argument("manifest", type=Path, help="JSON Lines")
    parser.add_argument("--out", required=True, help="folder or address of the shards")
    parser.add_argument("--name", default="", help="of the shards; if not given, the manifest's")
    parser.add_argument(
        "--size-mb", type=number(AboveZero), default=256.0, help="of a shard, at least"
    )
    parser.add_argument("--seed", type=int, default=0, help="of the order of rows")
    parser.add_argument("--in-order", action="store_true", help="keep the manifest's order")
    parser.add_argument("--workers", type=number(Workers), default=4, help="threads that read")
    parser.add_argument(
        "--on-error", choices=("stop", "skip"), default="stop", help="at a sound that is faulty"
    )
    parser.add_argument(
        "--manifest", dest="copy", type=Path, metavar="NEW", help="also write the manifest here"
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Cut, and say what came of it; exit status 1 where some sounds could not be read."""
    from speechllm.data import sharding

    tally = sharding.shard(
        args.manifest,
        sharding.Config(
            out=args.out.rstrip("/"),
            name=args.name,
            size_mb=args.size_mb,
            seed=None if args.in_order else args.seed,
            workers=args.workers,
            on_error=args.on_error,
            copy=args.copy,
        ),
    )
    for error in tally.errors:
        print(f"left out: {error}")
    hours = sum(one["seconds"] for one in tally.shards) / 3600
    size = sum(one["bytes"] for one in tally.shards) / 1e6
    print(
        f"{args.out}: {tally.rows} rows, {hours:.2f} h, {len(tally.shards)} shards, {size:.0f} MB"
    )
    return 1 if tally.errors else 0
