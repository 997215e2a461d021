"""A server of one model: OpenAI's routes over HTTP, shared batches, live speech, a page."""
