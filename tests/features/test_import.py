"""`import features` costs nothing, finds everything, and lets torchaudio live without CUDA."""

import subprocess
import sys

import pytest

import features


def run(code):
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_lazy_and_complete():
    run(
        "import sys, features\n"
        "heavy = {'torch', 'numpy', 'soundfile', 'matplotlib', 'torchaudio'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
        "for name in features.__all__: assert callable(getattr(features, name)), name\n"
        "assert set(features.__all__) <= set(dir(features))"
    )
    with pytest.raises(AttributeError, match="no attribute 'lod'"):
        _ = features.lod


def test_torchaudio_and_whisper_can_be_imported():
    said = run(
        "import features\n"
        "import torchaudio.compliance.kaldi\n"
        "from transformers import WhisperModel\n"
        "from features._torchaudio import status\n"
        "print(status())"
    )
    assert said.startswith("torchaudio 2.") and said.count("\n") == 1


def test_hook_is_put_in_once_and_heals_a_failed_import():
    run(
        "import sys\n"
        "try: import torchaudio\n"
        "except OSError: pass\n"
        "import features\n"
        "from features import _torchaudio\n"
        "_torchaudio.install()\n"
        "assert sum(isinstance(f, _torchaudio._Finder) for f in sys.meta_path) == 1\n"
        "import torchaudio.functional"
    )


def test_other_errors_are_not_hidden():
    run(
        "import types\n"
        "from features import _torchaudio\n"
        "def broken(lib): raise OSError('libstdc++.so.6: version not found')\n"
        "module = types.SimpleNamespace(_load_lib=broken)\n"
        "_torchaudio._wrap(module)\n"
        "try: module._load_lib('x')\n"
        "except OSError: pass\n"
        "else: raise SystemExit('hidden')"
    )
