"""The folder is the registry; wrong words are answered with the near ones."""

import copy
import dataclasses
import functools
import random
import re
import tomllib
import typing
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import tomli_w

from speechllm import config, older, ranges
from speechllm.data import loader
from speechllm.media._augment import Config as AudioConfig
from speechllm.models import anatomy, tiny
from speechllm.models.lora import Lora
from speechllm.models.system import System
from speechllm.train import phases
from speechllm.train.phases import Phase

SIGNED = ("filling", "noise_snr_db", "blank_id", "bias")  # may be below zero


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
        ({"size": "3"}, "x size: wanted a whole number, got '3'"),
        ({"size": True}, "wanted a whole number"),
        ({"size": 1, "rat": 1}, "did you mean 'rate'"),
        ({}, "'size' is missing"),
        ({"size": 1, "words": [1]}, "wanted a text"),
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
    preset = config.load("mini", ["encoder.layers=7", "phase.encoder.steps=5", "task.name=copy"])
    assert preset.table("encoder")["layers"] == 7
    assert preset.tables["phase"][0]["steps"] == 5
    (tmp_path / "p.toml").write_text(preset.dump())
    again = config.load(tmp_path / "p.toml")
    assert again.name == "mini"
    assert {**preset.tables, "preset": "mini"} == again.tables


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ("encoder.layers", "wants table.key=value"),
        ("phase.encodr.steps=5", "did you mean 'encoder'"),
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
    from speechllm.train.phases import phases

    preset = config.load(name)
    system = System(preset, tokenizer=None)
    for branch in system.branches.values():
        assert branch.front.dim and branch.adapter and branch.encoder
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
    for phase in phases(preset):
        for objective, table in phase.objectives.items():
            config.part(
                "objectives", {**table, "name": config.file_of("objectives", objective)}, "x"
            )
        if isinstance(phase.task, dict):
            config.part("tasks", phase.task, "x")


@dataclasses.dataclass(frozen=True)
class Numbers:
    steps: ranges.Positive = 1
    share: ranges.Share = 0.5
    dropout: ranges.BelowOne = 0.0
    lr: ranges.Rate = 1e-3
    shares: tuple[ranges.Share, ...] = ()
    rest: ranges.Count | None = None


@pytest.mark.parametrize(
    ("table", "says"),
    [
        ({"steps": 0}, "x steps: wanted a number at least 1, got 0"),
        ({"steps": 2**40}, "wanted a number that can be meant"),
        ({"share": 1.5}, "wanted a number at least 0 and at most 1, got 1.5"),
        ({"share": float("nan")}, "wanted a number that can be meant, got nan"),
        ({"dropout": 1}, "wanted a number at least 0 and below 1, got 1.0"),
        ({"lr": 0.0}, "wanted a number above 0 and at most 100, got 0.0"),
        ({"lr": 10**400}, "wanted a number, got"),
        ({"shares": [0.5, 2.0]}, "wanted a number at least 0 and at most 1, got 2.0"),
        ({"rest": -1}, "wanted a number at least 0, got -1"),
    ],
)
def test_numbers_have_ranges(table, says):
    with pytest.raises(ValueError, match=says):
        config.fill(Numbers, table, "x")


def test_numbers_within_their_ranges():
    table = {"steps": 3, "share": 1, "lr": 1, "shares": [0, 1], "rest": 0}
    assert config.fill(Numbers, table, "x") == Numbers(3, 1.0, 0.0, 1.0, (0.0, 1.0), 0)


def configs():
    """Every Config that a preset fills, with what it must be given besides."""
    rooms = ("models.encoders", "models.adapters", "models.fusion", "objectives", "tasks")
    parts = [config.config_class(room, name) for room in rooms for name in config.names(room)]
    given = {"name": "a", "train": ["x"], "objectives": {"ctc": {}}, "steps": 1, "lr": 1e-3}
    others = [(Phase, given), (loader.Config, {}), (AudioConfig, {}), (Lora, {"targets": ["a"]})]
    return [(part, {}) for part in parts] + others


@pytest.mark.parametrize(("cls", "given"), configs(), ids=lambda value: str(value)[:60])
def test_no_config_takes_a_number_that_means_nothing(cls, given):
    """Of each number: minus one, what is not finite, and what no machine holds."""
    for setting in dataclasses.fields(cls):
        hint = str(typing.get_type_hints(cls).get(setting.name))
        wild = [-1, 10**12] if "int" in hint else []
        wild += [-1.0, float("nan"), float("inf")] if "float" in hint else []
        for value in wild if setting.init and setting.name not in SIGNED else ():
            with pytest.raises(ValueError):
                config.fill(cls, {**given, setting.name: value}, "x")


def test_the_old_word_for_a_phase_is_read_with_a_line_of_advice(tmp_path, caplog):
    """[[stage]] in a file of one's own and `--set stage.NAME.key`; silence in a checkpoint's."""
    older._advise.cache_clear()
    new = config.load("mini", ["phase.encoder.steps=5"])
    text = (config.ROOT / "presets/mini.toml").read_text("utf-8")
    assert not caplog.messages and text.count("[[phase]]") == 4
    (tmp_path / "mini.toml").write_text(text.replace("[[phase]]", "[[stage]]"), "utf-8")
    for _ in range(2):
        old = config.load(tmp_path / "mini.toml", ["stage.encoder.steps=5"])
    assert old.tables == new.tables and list(old.tables) == list(new.tables)
    assert len(caplog.messages) == 2  # one for the file, one for the change, however often read
    assert "[[stage]] is called [[phase]] now" in caplog.messages[0]
    assert "stage.NAME.key is called phase.NAME.key now" in caplog.messages[1]

    caplog.clear()
    dumped = re.sub(r"^(\[+)phase\b", r"\1stage", new.dump(), flags=re.MULTILINE)
    (tmp_path / "preset.toml").write_text(dumped, "utf-8")
    assert config.load(tmp_path / "preset.toml").tables == {**new.tables, "preset": "mini"}
    assert not caplog.messages
    both = text.replace("[[phase]]", "[[stage]]", 1)
    (tmp_path / "both.toml").write_text(both, "utf-8")
    with pytest.raises(ValueError, match=r"\[\[stage\]\] is the old name of \[\[phase\]\]"):
        config.load(tmp_path / "both.toml")
    with pytest.raises(ValueError, match="no phase called 'encodr'; did you mean 'encoder'"):
        config.load("mini", ["stage.encodr.steps=5"])


@pytest.mark.parametrize(
    "change",
    ["encoder=[1]", "phase={a = 1}", "phase=[1]", "llm=5", "chat='x'", "seed=-1", "seed=1.5"]
    + ["seed=true", "branch={image = 1}", "branch={image = {encoder = 1}}", "fusion=[]", "tiny=0"],
)
def test_what_is_no_table_is_refused_on_reading(change):
    """So that nobody who reads a table as it stands meets a number."""
    with pytest.raises(ValueError, match=r"mini.toml.*(wanted|got)"):
        config.load("mini", [change])


@pytest.mark.parametrize(
    "change",
    ["encoder.layers='x'", "encoder.name=[1]", "llm.pretrained=0.5", "llm.config=3", "llm.lora=[3]"]
    + ["fusion.name={}", "adapter.kernel={}", "encoder.lora=1"],
)
def test_a_setting_of_a_wrong_kind_is_refused_before_anything_is_opened(change, tmp_path):
    for open_it in (anatomy.outline, System.open):
        with pytest.raises(ValueError, match=r"mini.toml \[\w+|wanted"):
            open_it(config.load("mini", [change]))


VALUES = [None, True, -1, 0, 3, 0.5, 2**63, 1e308, float("nan"), "", "x", [], [1], ["a"], {}]
VALUES += [{"a": 1}, [{}], [[]], {"name": "asr"}, {"r": {}}]


def addresses(value, at=()):
    """Every place in nested tables."""
    inside = value.items() if isinstance(value, dict) else enumerate(value)
    for key, one in inside:
        yield (*at, key)
        if isinstance(one, dict | list):
            yield from addresses(one, (*at, key))


def mutated(tables, rng):
    """Tables with one place of them another value, gone, or under another name."""
    tables = copy.deepcopy(tables)
    *above, key = rng.choice(list(addresses(tables)))
    place = functools.reduce(lambda table, word: table[word], above, tables)
    value = rng.choice(VALUES)
    if value is None:
        del place[key]
    elif value == "x" and isinstance(place, dict):
        place["x"] = place.pop(key)
    else:
        place[key] = value
    return tables


def test_a_mutated_preset_is_refused_in_one_line_or_read(tmp_path):
    """Through all that reads its tables as they stand: no other exception, no great memory."""
    rng, refused = random.Random(0), 0
    base = tomllib.loads((Path(__file__).parent / "tiny.toml").read_text("utf-8"))
    for _ in range(30):
        (tmp_path / "p.toml").write_text(tomli_w.dumps(mutated(base, rng)), "utf-8")
        try:
            preset = config.load(tmp_path / "p.toml")
            plan = phases.phases(preset)
            system, _ = anatomy.outline(preset, 40)
            for phase in plan:
                assert phase.patterns and phase.weights
            tiny.system(preset)
            assert anatomy.rate_hz(system) >= 0
        except ValueError as error:
            refused += 1
            assert "\n" not in str(error)
    assert 5 < refused < 30
