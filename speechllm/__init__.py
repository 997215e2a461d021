"""speechllm: speech LLMs from their own audio front end to a word error rate.

Importing does one thing: it lets torchaudio's Python parts (which transformers imports) load on a
torch without CUDA, as `features` does; see `features/_torchaudio.py`.
"""

import features  # noqa: F401  (installs the torchaudio hook; light)

__version__ = "0.1.0"
