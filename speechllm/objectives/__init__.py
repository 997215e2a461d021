"""One file a training objective; each returns (sum, count)."""
