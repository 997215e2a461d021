"""Let `import torchaudio` survive on a PyTorch without CUDA.

The wheels of torchaudio on PyPI link the CUDA libraries, so on a CPU-only PyTorch the import dies
with OSError and takes every audio model of transformers with it. Its Python parts
(compliance.kaldi, functional, transforms) need none of that, and torchaudio itself knows how to run
without its extension: `_load_lib` may answer False. `install()` puts a finder on `sys.meta_path`
that makes it do so when the only trouble is an absent CUDA library. Nothing is imported by it,
neither torch nor torchaudio.
"""

from __future__ import annotations

import functools
import re
import sys
from importlib.abc import MetaPathFinder
from importlib.machinery import PathFinder, SourceFileLoader

TARGET = "torchaudio._extension.utils"
CUDA_LIBRARY = re.compile(r"\blib(cu\w+|nv\w+|c10_cuda|torch_cuda\w*)\.so[.\d]*")
_absent: set[str] = set()


class _Loader(SourceFileLoader):
    """The ordinary loader, followed by the wrapping of `_load_lib`."""

    def exec_module(self, module):
        super().exec_module(module)
        _wrap(module)


class _Finder(MetaPathFinder):
    """Answers for one module only; every other import passes by."""

    def find_spec(self, name, path, target=None):
        if name != TARGET:
            return None
        spec = PathFinder.find_spec(name, path, target)
        if spec is not None and isinstance(spec.loader, SourceFileLoader):
            spec.loader = _Loader(spec.loader.name, spec.loader.path)
        return spec


def install() -> None:
    """Put the finder in place, once; the module is wrapped also when it is loaded already."""
    if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Finder())
    if TARGET in sys.modules:  # left behind by an import of torchaudio that failed before us
        _wrap(sys.modules[TARGET])


def status() -> str:
    """One line on torchaudio for `speechllm doctor` (this imports it)."""
    install()
    try:
        import torchaudio
    except ModuleNotFoundError:
        return "torchaudio: not installed (not needed)"
    except (ImportError, OSError) as error:
        return f"torchaudio: does not import: {error}"
    if _absent:
        names = ", ".join(sorted(_absent))
        return f"torchaudio {torchaudio.__version__}: Python parts only, {names} absent"
    return f"torchaudio {torchaudio.__version__}: complete"


def _wrap(module) -> None:
    if getattr(module._load_lib, "tolerant", False):
        return
    load_lib = module._load_lib

    @functools.wraps(load_lib)
    def tolerant(lib):
        try:
            return load_lib(lib)
        except OSError as error:
            library = CUDA_LIBRARY.search(f"{error} {error.__cause__}")
            if not library:
                raise
            _absent.add(library.group())
            return False

    tolerant.tolerant = True
    module._load_lib = tolerant
