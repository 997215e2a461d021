"""From manifests to batches: chat, sampling, collation, corpora."""
