"""What scoring shows in a browser: alignments, and the frame of every page."""
