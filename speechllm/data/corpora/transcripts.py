"""What a recogniser wrote, as text to be translated: the seam of a cascade.

`corpus` is a decode's folder, or its hyp.jsonl; `references` the manifest that was decoded. Written
is a manifest of the same utterances in which `text` is what was recognised and there is no audio.
Without `corpus`, `text` is what was really said: how well is a perfect transcript translated?

    speechllm data prepare transcripts --corpus exp/decode_test --references data/test.jsonl --out D
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from speechllm import files
from speechllm.data.corpora._build import BREAKS, folder_of
from speechllm.data.manifest import Manifest, write

HEARD = ("audio", "start", "duration", "features")


@dataclass(frozen=True)
class Config:
    """Options: the manifest that was decoded, the decode."""

    references: str
    corpus: str = ""
    out: str = "data/transcripts"

    def prepare(self) -> dict[str, Path]:
        """Write `<manifest>.jsonl`, under the manifest's name. Raises ValueError, OSError."""
        rows = Manifest(self.references)
        texts = self._recognised() if self.corpus else self._said(rows)
        if missing := [row["id"] for row in rows if row["id"] not in texts]:
            raise ValueError(
                f"{self.corpus}: nothing recognised for {len(missing)} of {self.references}, as "
                f"{missing[0]}; resume the decoding"
            )
        out = Path(self.out).absolute() / f"{Path(self.references).stem}.jsonl"
        out.parent.mkdir(parents=True, exist_ok=True)
        write(out, (_text_row(row, texts[row["id"]]) for row in rows))
        return {out.stem: out}

    def _said(self, rows: Manifest) -> dict[str, str]:
        texts = {row["id"]: row.get("text") for row in rows}
        if mute := [id for id, text in texts.items() if text is None]:
            raise ValueError(f"{self.references}: {mute[0]} has no 'text'; give --corpus, a decode")
        return texts

    def _recognised(self) -> dict[str, str]:
        path = folder_of(self.corpus, "a decode's folder or its hyp.jsonl")
        texts = {}
        path = path / "hyp.jsonl" if path.is_dir() else path
        for number, row in files.json_lines(path):
            id = files.entry(row, "id", str, f"{path}:{number}: not a decoding result")
            hyp = files.entry(row, "hyp", str, f"{path}:{number}: not a decoding result")
            texts[id] = BREAKS.sub(" ", hyp)
        return texts


def _text_row(row: dict[str, Any], text: str) -> dict[str, Any]:
    return {key: value for key, value in row.items() if key not in HEARD} | {"text": text}
