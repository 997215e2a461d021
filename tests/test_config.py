"""The folder is the registry; wrong words are answered with the near ones."""

from dataclasses import dataclass, field

import pytest

from speechllm import config


@dataclass(frozen=True)
class Some:
    """Settings of several types."""

    size: int
    rate: float = 0.5
    words: tuple[str, ...] = ()
    table: dict = field(default_factory=dict)
    maybe: dict | None = None


def test_fill_converts_and_keeps_defaults():
    made = config.fill(Some, {"size": 3, "rate": 1, "words": ["a"]}, "x")
    assert made == Some(3, 1.0, ("a",)) and type(made.rate) is float


@pytest.mark.parametrize(
    ("table", "says"),
    [
        ({"size": "3"}, "x size: wanted int, got '3'"),
        ({"size": True}, "wanted int"),
        ({"size": 1, "rat": 1}, "did you mean 'rate'"),
        ({}, "'size' is missing"),
        ({"size": 1, "words": [1]}, "wanted str"),
    ],
)
def test_fill_refuses(table, says):
    with pytest.raises(ValueError, match=says):
        config.fill(Some, table, "x")


def test_part_is_the_file():
    made = config.part("models.adapters", {"name": "linear", "stack": 3}, "x")
    assert type(made).__module__ == "speechllm.models.adapters.linear"
    assert made.stack == 3


def test_unknown_part_names_the_near_ones():
    with pytest.raises(
        ValueError, match="no models.adapters called 'linar'; did you mean 'linear'"
    ):
        config.part("models.adapters", {"name": "linar"}, "x")


def test_load_dump_load_is_the_same(tmp_path):
    preset = config.load("mini", ["encoder.layers=7", "stage.encoder.steps=5", "task.name=copy"])
    assert preset.table("encoder")["layers"] == 7
    assert preset.tables["stage"][0]["steps"] == 5
    (tmp_path / "p.toml").write_text(preset.dump())
    again = config.load(tmp_path / "p.toml")
    assert again.name == "mini"
    assert {**preset.tables, "preset": "mini"} == again.tables


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ("encoder.layers", "wants table.key=value"),
        ("stage.encodr.steps=5", "did you mean 'encoder'"),
        ("encodr.layers=5", "did you mean 'encoder'"),
    ],
)
def test_wrong_changes(change, says):
    with pytest.raises(ValueError, match=says):
        config.load("mini", [change])


def test_unknown_preset_and_broken_toml(tmp_path):
    with pytest.raises(ValueError, match="did you mean 'mini'"):
        config.load("minni")
    (tmp_path / "x.toml").write_text("a = ")
    with pytest.raises(ValueError, match="not valid TOML"):
        config.load(tmp_path / "x.toml")


@pytest.mark.parametrize("name", config.presets())
def test_every_word_of_every_preset_is_known(name):
    from speechllm.data import chat, loader
    from speechllm.media import _augment as augment
    from speechllm.models.llm import Config as LLMConfig
    from speechllm.models.system import System
    from speechllm.train.stages import stages

    preset = config.load(name)
    system = System(preset, tokenizer=None)
    assert system.extractor.dim and system.adapter and system.encoder
    for section, cls in (
        ("llm", LLMConfig), ("chat", chat.Config), ("data", loader.Config),
        ("augment", augment.Config),
    ):  # fmt: skip
        preset.section(section, cls)
    task = dict(preset.table("task"))
    for other, table in task.pop("others", {}).items():
        config.part("tasks", {**table, "name": other}, "x")
    config.part("tasks", task, "x")
    preset.part("fusion", "models.fusion")
    for stage in stages(preset):
        for objective, table in stage.objectives.items():
            config.part("objectives", {**table, "name": objective}, "x")
        if isinstance(stage.task, dict):
            config.part("tasks", stage.task, "x")
