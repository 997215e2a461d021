"""Build of the front end's C library; everything else stands in pyproject.toml.

`features/native/frontend.c` is compiled once for each instruction set that the processor's family
may have, each object under its own names, and all are linked into one plain shared library beside
`features/fast.py`, which picks a variant when the program runs. It holds no Python, so one wheel
serves every Python. Where it cannot be built (no compiler, or one without vector types, as
Microsoft's) the installation goes on, and torch computes the features.

    python setup.py build_ext --inplace     # into a working tree
"""

import os
import shutil
import sys
import sysconfig
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.command.build_ext import build_ext

NATIVE = Path("features") / "native"
FLAGS = "-O3 -std=gnu11 -fno-math-errno -fno-strict-aliasing -fvisibility=hidden".split()
# two flags that save 5 to 10 %: the vectors of a butterfly stay in registers
FLAGS += "-fschedule-insns -fsched-pressure".split()
FUSED = "-ffp-contract=fast"
TUNED = "-mtune=skylake-avx512"  # measured also on AMD's, also for AVX2
# A product may only be rounded apart from its sum where the processor cannot fuse the two.
X86 = {
    "avx512": ["-mavx512f", "-mavx512bw", "-mavx512dq", "-mavx512vl", "-mfma", TUNED, FUSED],
    "avx2": ["-mavx2", "-mfma", TUNED, FUSED],
    "plain": ["-ffp-contract=off"],
}
ARM = {"neon": [FUSED], "plain": ["-ffp-contract=off"]}
SUFFIX = {"win32": ".dll", "darwin": ".dylib"}.get(sys.platform, ".so")


def variants() -> dict[str, list[str]]:
    """Variants for the processor that is built for, each with the flags of its object."""
    machine = os.environ.get("ARCHFLAGS", "") or sysconfig.get_platform()
    if machine.endswith(("x86_64", "amd64")):
        return X86
    return ARM if machine.endswith(("arm64", "aarch64")) else {"plain": ARM["plain"]}


class BuildKernel(build_ext):
    """One object a variant, and a name for the library that says nothing of Python."""

    def finalize_options(self):
        """On Windows GCC is wanted: Microsoft's compiler has no vector types."""
        super().finalize_options()
        if os.name == "nt" and self.compiler is None and shutil.which("gcc"):
            self.compiler = "mingw32"

    def get_ext_filename(self, fullname):
        """features/_kernel.so, without the tag of an interpreter."""
        return os.path.join(*fullname.split(".")) + SUFFIX

    def get_export_symbols(self, ext):
        """None but those that the source marks: there is no PyInit."""
        return []

    def build_extension(self, ext):
        """Compile each source for each variant that it is for, and link."""
        objects = []
        for name, flags in variants().items():
            places = self._compile(NATIVE / "frontend.c", name, [*flags, f"-DVARIANT={name}"])
            objects += places
        built = [f"-DHAS_{name.upper()}" for name in variants()]
        objects += self._compile(NATIVE / "dispatch.c", "dispatch", built)
        objects += self._compile(NATIVE / "memory.c", "memory", [])
        target = self.get_ext_fullpath(ext.name)
        Path(target).parent.mkdir(parents=True, exist_ok=True)
        static = ["-static-libgcc"] if os.name == "nt" else []
        self.compiler.link_shared_object(objects, target, extra_postargs=static)

    def _compile(self, source: Path, name: str, flags: list[str]) -> list[str]:
        """Objects of one source, in a folder of its own: the variants share the file's name."""
        folder = os.path.join(self.build_temp, name)
        return self.compiler.compile([str(source)], folder, extra_postargs=[*FLAGS, *flags])


class PlatformWheel(bdist_wheel):
    """A wheel for any Python 3 on this kind of machine."""

    def get_tag(self):
        """py3-none and the platform."""
        return "py3", "none", super().get_tag()[2]


HEADER = str(NATIVE / "frontend.h")
sources = [str(NATIVE / name) for name in ("frontend.c", "dispatch.c", "memory.c")]
setup(
    ext_modules=[Extension("features._kernel", sources, optional=True, depends=[HEADER])],
    cmdclass={"build_ext": BuildKernel, "bdist_wheel": PlatformWheel},
)
