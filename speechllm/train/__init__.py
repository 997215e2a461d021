"""The training loop, its phases, checkpoints, health and log."""
