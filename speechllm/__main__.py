"""`python -m speechllm` is the `speechllm` command."""

import sys

from speechllm.cli import main

sys.exit(main())
