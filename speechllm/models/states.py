"""States of a frozen encoder, stored once: of which encoder they are, and how they are made.

    speechllm data states PRESET MANIFEST --out SET --manifest NEW

A set is one of `features.stored`, whose `preset.json` says under "states" which encoder made them:
its settings and a digest of its weights. Media of one encoder's pass have like lengths, so padding
costs little; what is written is each one's own states. What is there already is not made again.

T frames, F values a frame, L states, D values a state.
"""

from collections.abc import Iterable
from pathlib import Path

import torch

from features import packed
from speechllm import config
from speechllm.models import store
from speechllm.models.branch import Branch, branches
from speechllm.models.fingerprint import fingerprint

DTYPES = tuple(packed.DTYPES)


def origin(branch: Branch, encoder: torch.nn.Module) -> dict:
    """Say of which encoder states are: as `Branch.origin`, with the digest of its weights."""
    return branch.origin | {
        "weights": fingerprint(encoder, beyond=getattr(encoder, "lies_above", None))
    }


def origins(system, model, learning=()) -> dict[str, dict | str]:
    """Say by medium of which encoder stored states must be, for `Examples`.

    Args:
        system, model: one beside the other.
        learning: names of parameters that learn: an encoder among them has no states to store.
    """
    found = {}
    for kind, branch in system.branches.items():
        place, encoder = f"{branch.place}encoder.", model.branches[kind].encoder
        above = getattr(encoder, "lies_above", lambda name: False)
        own = (name for name in learning if name.startswith(place))
        name = next((name for name in own if not above(name.removeprefix(place))), "")
        found[kind] = (
            f"its states are stored, but {name} learns: take the manifest without them, or leave "
            f"{place}* out of the phase's train"
            if name
            else origin(branch, encoder)
        )
    return found


def opened(what, changes: Iterable[str] = ()) -> tuple[Branch, torch.nn.Module]:
    """Give the branch of audio and its encoder, in evaluation mode.

    Args:
        what: a preset by name or file, or the folder of a model.
        changes: to a preset, as `config.load` takes them.

    Raises:
        ValueError: neither; no branch for audio; an encoder from nothing that nobody has trained.
    """
    if str(what) not in config.presets() and Path(what).is_dir():
        system, model = store.load(store.find(Path(what)))
        return system.audio, model.encoder
    preset = config.load(what, changes)
    branch = branches(preset).get("audio")
    if branch is None:
        raise ValueError(f"{preset.source}: it has no branch for audio, whose states are stored")
    if getattr(branch.encoder, "pretrained", True) in ("", None):
        raise ValueError(
            f"{preset.source} [encoder]: {branch.tables['encoder']['name']} from nothing, trained "
            "nowhere: give the folder of a trained model in place of the preset"
        )
    branch.check()
    return branch, branch.build_encoder().eval()
