"""File names and texts are UTF-8 whatever the locale: a command that reads names as ASCII restarts.

Under `LC_ALL=C` Python takes up UTF-8 by itself, unless it is told not to; then each name with an
umlaut is made of half characters that no file, tokenizer or manifest can hold.
"""

import os
import sys


def ensure() -> None:
    """Start this very command once more in Python's UTF-8 mode, if file names are not UTF-8."""
    ascii_names = sys.getfilesystemencoding().lower().replace("-", "") != "utf8"
    if ascii_names and os.environ.get("PYTHONUTF8") != "1":
        os.environ["PYTHONUTF8"] = "1"  # for worker processes too
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])
