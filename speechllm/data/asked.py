"""Which task a row is asked under: the preset's, one of its others, or the one that a row names."""

from speechllm import config
from speechllm.data.manifest import Manifest


def asked(preset, name: str = "") -> dict:
    """The table of a task by its name: one of [task.others], or (also without name) the preset's.

    Raises:
        ValueError: there is no task of that name.
    """
    own, others = tables(preset)
    table = others.get(name, {"name": name}) if name else own
    config.part("tasks", table, f"{preset.source} [task]")
    return table


def tables(preset) -> tuple[dict, dict[str, dict]]:
    """Take apart [task] and its `others`: settings of tasks that rows name, by name."""
    table = dict(preset.table("task"))
    others = {name: {**t, "name": name} for name, t in table.pop("others", {}).items()}
    return table, {table.get("name"): table, **others}


def named(manifest: Manifest, tables: dict[str, dict]) -> dict:
    """Make the tasks that a manifest's rows name."""
    made = {}
    for line, row in manifest.kinds():
        if (name := row.get("task")) and name not in made:
            where = f"{manifest.path}:{line}"
            made[name] = config.part("tasks", tables.get(name, {"name": name}), where)
    return made
