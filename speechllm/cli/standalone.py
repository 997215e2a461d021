"""A script beside exported parts that needs none of this project, for systems of SLAM's shape.

Those are: one branch of sound, an encoder that is transformers' own, the adapter `linear`, soft
tokens in the text. What is not of that shape has no script; `why` says what is different.
"""

import json
import shutil
from pathlib import Path

SCRIPT = Path(__file__).with_name("standalone_script.py.txt")
NAME = "transcribe.py"
WAVES = ("wav2vec2", "hubert", "wavlm")


def why(system) -> str:
    """Say why there can be no script; "" where there can."""
    tables, branches = system.preset.tables, system.branches
    if list(branches) != ["audio"] or tables["fusion"]["name"] != "interleave":
        return "it takes more than sound, or joins it otherwise than as soft tokens in the text"
    if tables["adapter"]["name"] != "linear":
        return f"its adapter is {tables['adapter']['name']!r}; the script knows 'linear'"
    encoder, name = system.encoder, tables["encoder"]["name"]
    if name == "whisper" and (encoder.window != "30s" or not encoder.final_norm):
        return "its Whisper does not hear windows of 30 s as transformers' does"
    if name not in ("whisper", *WAVES) or encoder.layers != "last":
        return f"its encoder {name!r} is not used as transformers' class is"
    front = system.extractor.options()
    usual = ("whisper", "wave16k") if name in WAVES else ("whisper",)
    if not tables["frontend"]["name"].startswith(usual):
        return f"its front end is {tables['frontend']['name']!r}"
    longer = front.get("pad_longer", "refuse")
    return "" if longer == "refuse" else f"its front end takes longer sounds by {longer!r}"


def write(system, out: Path) -> None:
    """Write the script and what it reads into a folder of parts.

    Raises:
        ValueError: a task that wants more than sound.
    """
    from speechllm.data.chat import Builder
    from speechllm.decode.requests import usual

    builder, config = Builder.of(system), system.adapter
    encoded = builder.build(usual(system), [1], answer=False)
    ((start, count),) = encoded.slots
    front = system.extractor.options()
    raw = system.preset.tables["encoder"]["name"] in WAVES
    facts = {
        "front": "wave" if raw else "whisper",
        "normalize": bool(front.get("normalize")),
        "bands": system.extractor.dim,
        "stack": config.stack,
        "rest": config.rest,
        "activation": config.activation,
        "norm": config.norm,
        "before": encoded.ids[:start],
        "after": encoded.ids[start + count :],
        "stops": sorted(builder.stops),
    }
    (out / "parts.json").write_text(json.dumps(facts, indent=1), "utf-8")
    shutil.copyfile(SCRIPT, out / NAME)
