"""A loaded model on its way out: its weights without what was added, and the names they go by."""

import re
from pathlib import Path

import torch

from speechllm.models import hub, importing, lora, peft_files, store, whole


class Leaving:
    """A loaded model on its way out.

    Args:
        folder: an experiment, a phase, a model folder.
        like: the checkpoint that it was imported from; "": as the folder says.
        whole_again: whether it goes back to that one; else each part leaves for itself.

    Raises:
        ValueError: the folder is none; it does not say what it was imported from, where `like` is
            wanted; `like` is another model.
    """

    def __init__(self, folder: Path, like: str = "", whole_again: bool = True):
        self.folder = store.find(folder)
        self.system, self.model = store.load(self.folder)
        said = whole.facts(self.folder).get("imported", {})
        self.like = str(like or said.get("from", "")) if whole_again else ""
        # The LoRA of a family is part of what it publishes; others were added here.
        self.own: dict[str, tuple] = {}
        if self.like:
            self._look(self.like)
        names = [lora.owner(name) for name in self.model.state_dict()]
        self.added = tuple(dict.fromkeys(n[1] for n in names if n and n[1] not in self.own))

    def _look(self, like: str) -> None:
        fields = hub.read_fields(like)
        self.family = fields["model_type"]
        self.names = importing.find(self.family, like)
        self.published = getattr(self.names, "read", importing.read)(fields, like)
        self.own = getattr(self.names, "loras", lambda _: {})(self.published)
        self.class_name = (fields.get("architectures") or [""])[0]
        self.base = importing.fetch(like)
        self.shards = importing.opened(self.base, self.names)
        peft_files.table(self.base, self.shards.apart, self.own)

    def weights(self, merged: tuple[str, ...]) -> dict[str, torch.Tensor]:
        """Give all weights by name as if no LoRA had been added, `merged` ones added in."""
        kept = {}
        for name, tensor in self.model.state_dict().items():
            owner = lora.owner(name)
            if owner is None or owner[1] in self.own:
                kept[name.replace(".base_layer.", ".")] = tensor
        for place, module in self.model.named_modules():
            for one in set(merged) & set(getattr(module, "lora_A", {})):
                name = f"{place}.weight"
                kept[name] = (kept[name].float() + module.get_delta_weight(one)).to(
                    kept[name].dtype
                )
        return kept

    def kind(self):
        """Give the class of transformers that the published model names.

        Raises:
            ValueError: it is none of transformers'.
        """
        import transformers

        if not hasattr(transformers, self.class_name):
            raise ValueError(
                f"{self.like}: its class {self.class_name!r} is none of transformers': neither a "
                "LoRA beside it nor fewer bits; take --to transformers --merge alone"
            )
        return getattr(transformers, self.class_name)

    def ours(self, name: str) -> str | None:
        """Give our name of a published one; None for what the import has no use for."""
        if any(re.match(pattern, name) for pattern in self.names.IGNORE):
            return None
        part, rest = peft_files.split(name)
        return importing.renamed(part, self.names.RENAME) + rest

    def fit(self, weights: dict[str, torch.Tensor]) -> None:
        """Refuse a published checkpoint that is not the one.

        Raises:
            ValueError: lists names and shapes that differ.
        """
        theirs = {self.ours(name): name for name in self.shards.names()} | {None: ""}
        tied = {n for n, t in weights.items() if any(t.data_ptr() == weights[o].data_ptr()
                for o in theirs if o in weights and o != n)}  # fmt: skip
        wrong = sorted(weights.keys() - theirs.keys() - tied)
        wrong += sorted(name for ours, name in theirs.items() if ours and ours not in weights)
        wrong += [
            f"{name} {self.shards.shape(name)} for {tuple(weights[ours].shape)}"
            for ours, name in theirs.items()
            if ours in weights and self.shards.shape(name) != tuple(weights[ours].shape)
        ]
        if wrong:
            raise ValueError(
                f"{self.like} is not what {self.folder} was imported from: {hub.some(wrong)}"
            )
