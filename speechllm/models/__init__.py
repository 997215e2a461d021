"""Encoders, adapters, fusion, LLM, and the model they make. The only room with transformers."""
