"""How long processes wait for the slowest of a step: a simulation over recorded durations.

    python benchmarks/ranks.py train.jsonl [dev.jsonl ...] --ranks 8 64 512

Each process does one batch a step and all wait for the last. A batch costs its rows times its
longest member, and what attention adds: as much again at `--quadratic` seconds. Batches are those
that the training draws, of the durations of all manifests together, repeated as often as 512
processes want for a hundred steps. Idle is the share of the processes' time that is waited:
1 - sum of costs / (processes x sum of each step's largest). Nothing is read but the manifests.
"""

import argparse

import numpy as np

from speechllm.data.manifest import Manifest
from speechllm.data.sampler import Sampler
from speechllm.data.windows import WindowSampler

STEPS = 100


def costs(order, lengths: np.ndarray, n: int, quadratic: float) -> np.ndarray:
    """Cost of the first n batches of an order, (n,)."""
    found = np.empty(n)
    for number in range(n):
        _, indices = order.batch(number)
        longest = lengths[indices].max()
        found[number] = len(indices) * longest * (1 + longest / quadratic)
    return found


def idle(cost: np.ndarray, ranks: int) -> float:
    """Share of time that is waited where each step's batches are those of `ranks` processes."""
    steps = cost[: len(cost) // ranks * ranks].reshape(-1, ranks)
    return 1 - steps.sum() / (ranks * steps.max(1).sum())


def main() -> None:
    """Print a line a number of processes."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("manifest", nargs="+")
    parser.add_argument("--ranks", nargs="+", type=int, default=[8, 64, 512])
    parser.add_argument("--max-batch-s", type=float, default=120.0)
    parser.add_argument("--quadratic", type=float, default=60.0)
    parser.add_argument("--window", type=int, default=20_000)
    args = parser.parse_args()
    lengths = np.concatenate([Manifest(path).lengths_s for path in args.manifest])
    mean, n = lengths.mean(), len(lengths)
    print(f"{n} utterances, mean {mean:.2f} s, longest {lengths.max():.2f} s")
    print(f"batches of up to {args.max_batch_s:g} s; attention doubles at {args.quadratic:g} s")
    print(f"{'processes':>9} {'drawn':>8} {'window':>8} {'balance':>8}   of the time is waited")
    for ranks in args.ranks:
        times = max(int(ranks * STEPS * args.max_batch_s / mean / n) + 1, 1)
        many = np.tile(lengths, times)
        many = many[np.random.default_rng(0).permutation(len(many))]
        orders = (
            Sampler(many, args.max_batch_s),
            WindowSampler(many, args.window, args.max_batch_s),
            Sampler(many, args.max_batch_s, block=ranks),
        )
        shares = [idle(costs(o, many, ranks * STEPS, args.quadratic), ranks) for o in orders]
        print(f"{ranks:9} " + " ".join(f"{share:8.1%}" for share in shares))


if __name__ == "__main__":
    main()
