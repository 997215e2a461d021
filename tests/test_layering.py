"""Who may import whom: design section 1, held against the imports of every file."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
# room -> rooms of ours that it may import, besides itself
ALLOWED = {
    "features": set(),
    "speechllm/config": {
        "speechllm/files", "speechllm/nested", "speechllm/older", "speechllm/ranges",
    },
    "speechllm/nested": {"speechllm/files", "speechllm/older", "speechllm/ranges"},
    "speechllm/older": set(),
    "speechllm/ranges": set(),
    "speechllm/files": set(),
    "speechllm/energy": set(),
    "speechllm/lock": set(),
    "speechllm/places": set(),
    "speechllm/provenance": set(),
    "speechllm/score": {"speechllm/config", "speechllm/provenance"},
    "speechllm/tasks": {"speechllm/config"},
    "speechllm/media": {"features", "speechllm/config"},
    "speechllm/data": {"features", "speechllm/config", "speechllm/tasks", "speechllm/media"},
    "speechllm/models": {"features", "speechllm/config", "speechllm/media", "speechllm/data/batch"},
    "speechllm/objectives": {"speechllm/models", "speechllm/data"},
    "speechllm/train": {
        "speechllm/config", "speechllm/provenance", "speechllm/data", "speechllm/tasks",
        "speechllm/media", "speechllm/models", "speechllm/objectives", "speechllm/decode",
    },
    "speechllm/decode": {  # features: sound in blocks, for what is longer than memory
        "features", "speechllm/config", "speechllm/provenance", "speechllm/data", "speechllm/tasks",
        "speechllm/media", "speechllm/models", "speechllm/score",
    },
    "speechllm/serve": {"features", "speechllm/config", "speechllm/score", "speechllm/decode"},
    "speechllm/report": {"features", "speechllm/config", "speechllm/score", "speechllm/provenance"},
}  # fmt: skip
GROUND = {
    "speechllm/files",
    "speechllm/lock",
    "speechllm/nested",
    "speechllm/older",
    "speechllm/places",
    "speechllm/ranges",
}  # of all but `features` and `config`
ONLY_MODELS = {"transformers", "peft"}
FREE = ("speechllm/cli", "speechllm/__init__", "speechllm/__main__")
FILES = sorted([*ROOT.glob("features/**/*.py"), *ROOT.glob("speechllm/**/*.py")])


def place(path: Path) -> str:
    """Return a file's path without ending, from the root."""
    return path.relative_to(ROOT).with_suffix("").as_posix()


def imports(path: Path) -> set[str]:
    """Return every module imported anywhere in a file, as paths."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return {name.replace(".", "/") for name in found}


def inside(name: str, room: str) -> bool:
    """Say whether a module path lies in a room."""
    return name == room or name.startswith(room + "/")


@pytest.mark.parametrize("path", FILES, ids=place)
def test_imports_follow_the_layers(path):
    here = place(path)
    if here.startswith(FREE):
        return
    rooms = [room for room in ALLOWED if inside(here, room)]
    assert rooms, f"{here} is in no room of the design"
    ground = set() if here.startswith(("features", "speechllm/config")) else GROUND
    allowed = ALLOWED[rooms[0]] | ground | {rooms[0]}
    for name in imports(path):
        if name.split("/")[0] in ("features", "speechllm"):
            assert any(inside(name, room) for room in allowed), f"{here} imports {name}"
        if name.split("/")[0] in ONLY_MODELS:
            assert rooms[0] == "speechllm/models", f"{here} imports {name}"


def test_a_forbidden_arrow_is_seen(tmp_path):
    file = tmp_path / "x.py"
    file.write_text("def f():\n    from speechllm.train import loop\n    import peft.tuners\n")
    assert imports(file) == {"speechllm/train/loop", "peft/tuners"}
