"""Options that several verbs share."""

import argparse


def add_reading(parser: argparse.ArgumentParser) -> None:
    """Add how audio is read, what to do where it cannot be, and where to compute."""
    parser.add_argument("--workers", type=int, default=1, help="processes that read audio")
    parser.add_argument(
        "--on-error",
        choices=("stop", "skip"),
        default="stop",
        help="at a file that cannot be read: stop, or go on without it",
    )
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda")
