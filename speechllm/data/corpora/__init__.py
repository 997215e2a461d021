"""Corpora, one file each, whose Config.prepare() makes manifests; files with _ are helpers."""
