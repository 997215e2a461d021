"""What scoring reads and writes: hypotheses, sclite's formats."""
