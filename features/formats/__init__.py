"""Sound files as containers: what is in a file, and how libsndfile or ffmpeg gets at it."""
