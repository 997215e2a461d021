"""Options and fixtures for all tests: the folder of real data, threads, small shared objects."""

import os
from pathlib import Path

import pytest


def pytest_addoption(parser):
    parser.addoption("--data", default=os.environ.get("SPEECHLLM_DATA", ""), help="real data folder")


@pytest.fixture(scope="session")
def real_data(request) -> Path:
    """Folder of real development data; the test is skipped, saying so, where it is absent."""
    folder = request.config.getoption("--data")
    if not folder or not Path(folder).is_dir():
        pytest.skip("needs real data: pytest --data DIR (or SPEECHLLM_DATA=DIR)")
    return Path(folder)
