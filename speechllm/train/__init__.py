"""The training loop, its stages, checkpoints, health and log."""
