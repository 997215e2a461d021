"""Lists of SLAM-LLM: JSON Lines with `key`, `source` (a sound file) and `target` (a text).

`corpus` is such a file, or a folder of them (.jsonl): one manifest each, called as the file is.
`key` becomes the id; one that comes again with another target or sound gets a number (k, k-2).
Sources are absolute, or relative to `root`, by default the file's own folder. A row's `prompt`
becomes its `question`, which the task qa asks. Sources in Kaldi archives ("x.ark:12") have to be
unpacked first.

    speechllm data prepare slam_llm --corpus librispeech_train_960h.jsonl --lang en --out data

https://github.com/X-LANCE/SLAM-LLM
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from speechllm.data.corpora._build import Entry, Faults, finish, folder_of, manifests_in
from speechllm.data.corpora._lines import json_lines, wanted

ARCHIVE = re.compile(r".*\.ark(\.gz)?:\d+(\[.*\])?")


@dataclass(frozen=True)
class Config:
    """Options: `root` is where relative paths start; `lang` is written into each row."""

    corpus: str
    out: str = "data/slam_llm"
    root: str = ""
    lang: str = ""
    on_error: str = "stop"

    def prepare(self) -> dict[str, Path]:
        """Write `<file>.jsonl` for each; manifests by name. Raises ValueError."""
        faults = Faults(self.on_error)
        path = folder_of(self.corpus, "a .jsonl file of SLAM-LLM, or a folder of them")
        lists = manifests_in(path, (".jsonl", ".jsonl.gz"))
        entries = {name: list(self._entries(one, faults)) for name, one in lists.items()}
        return finish(self.out, entries, faults, apart=True)

    def _entries(self, path: Path, faults: Faults) -> Iterator[Entry]:
        root = Path(self.root).expanduser().absolute() if self.root else path.parent
        for where, row in json_lines(path, faults):
            try:
                yield Entry(self._row(row, root), where)
            except (ValueError, OSError) as error:
                faults.add(where, str(error))

    def _row(self, row: dict[str, Any], root: Path) -> dict[str, Any]:
        if missing := [key for key in ("key", "source", "target") if row.get(key) is None]:
            raise ValueError(f"no {' and no '.join(map(repr, missing))}; is this of SLAM-LLM?")
        source = wanted(row, "source", str)
        if ARCHIVE.fullmatch(source):
            raise ValueError(f"an archive ({source}); unpack it with wav-copy, and write the paths")
        key = row["key"] if isinstance(row["key"], int) else wanted(row, "key", str)
        fields = {"id": str(key), "audio": str(root / Path(source).expanduser())}
        fields |= {"text": wanted(row, "target", str), "question": wanted(row, "prompt", str)}
        fields |= {"lang": wanted(row, "lang", str) or self.lang or None}
        return {key: value for key, value in fields.items() if value is not None}
