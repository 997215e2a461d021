"""Finding and opening what is trained: no part of training is imported for it."""

import subprocess
import sys

ROAD = """
import sys
import speechllm
from speechllm.models import store
try:
    speechllm.load(sys.argv[1])
except ValueError as error:
    print(error)
import speechllm.decode.ask, speechllm.decode.run
print([name for name in sys.modules if name.startswith("speechllm.train")])
"""


def test_using_a_model_imports_nothing_of_training(tmp_path):
    """In a process of its own, on the road of `speechllm.load`, asking and decoding."""
    command = [sys.executable, "-c", ROAD, str(tmp_path)]
    out = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert out.splitlines() == [
        f"{tmp_path} is neither an experiment nor a checkpoint of speechllm",
        "[]",
    ]
