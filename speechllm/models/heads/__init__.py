"""Heads: what reads a model's states besides the LLM. One file a head; the folder is the registry.

A head belongs to the model and its checkpoint, as `heads.NAME.*`; NAME is its file's, or goes on
behind that, as `ctc_tokens`, which is a second one of `ctc`. An objective makes one and trains
it; who decodes finds it in `model.heads`. `checkpoint.json` says which there are, under "heads".
"""

import dataclasses

from speechllm import config, files


def table(model) -> dict[str, dict]:
    """Describe the heads of a model, by name, as `attach` makes them again."""
    return {name: _changed(head.config) for name, head in model.heads.items()}


def _changed(settings) -> dict:
    """Give the settings of a head that are not as they are by themselves, and what it reads."""
    usual = dataclasses.asdict(type(settings)())
    return {k: v for k, v in dataclasses.asdict(settings).items() if k == "on" or v != usual[k]}


def own(kind: type, settings):
    """Give a head's own Config, of class `kind`, out of an objective's, which has more fields."""
    return kind(**{field.name: getattr(settings, field.name) for field in dataclasses.fields(kind)})


def attach(model, facts: dict, where: str) -> None:
    """Give a model the heads that the facts of its checkpoint name; their weights are to be read.

    One that is there already stays: an objective may hold it.

    Raises:
        ValueError: no such head, or settings that it does not have; `where` says of which file.
    """
    for name, settings in files.expect(facts.get("heads", {}), dict, f"{where}: 'heads'").items():
        files.expect(settings, dict, f"{where}: 'heads' {name}")
        settings = {**settings, "name": config.file_of("models.heads", name)}
        wanted = config.part("models.heads", settings, f"{where} heads.{name}")
        if name not in model.heads or model.heads[name].config != wanted:
            model.take_head(name, wanted.build(model))
