"""A word that presets had before: their phases were called stages, which is a recipe's word.

    older.tables(tables, path)               [[stage]] -> [[phase]]
    older.change("stage.tune.steps=100")     phase.tune.steps=100

Both say so once a process, and go on.
"""

import functools
import logging
import re

CHANGE = re.compile(r"\s*stage\s*(?=[.=])")

_log = logging.getLogger(__name__)


def tables(tables: dict, path) -> dict:
    """Give a preset's tables their names of today.

    Raises:
        ValueError: both names in one preset.
    """
    if "stage" not in tables:
        return tables
    if "phase" in tables:
        raise ValueError(f"{path}: [[stage]] is the old name of [[phase]]; wanted one of them")
    if "preset" not in tables:  # else a checkpoint's own copy, which nobody is to edit
        _advise(f"{path}: [[stage]] is called [[phase]] now; read as before, better renamed")
    return {"phase" if key == "stage" else key: value for key, value in tables.items()}


def change(change: str) -> str:
    """Give a change of `--set` in the words of today."""
    if not CHANGE.match(change):
        return change
    _advise("--set stage.NAME.key is called phase.NAME.key now; read as before")
    return CHANGE.sub("phase", change, count=1)


@functools.cache
def _advise(text: str) -> None:
    """Say something once a process."""
    _log.warning(text)
