"""Rows of what is seen and a question: a signer, a picture; and what was said before."""

from pathlib import Path


def row(id: str, parts: list[dict], question: str, text: str, **more) -> dict:
    """Make a row whose messages are the parts, the question and the answer; `more` says besides."""
    content = [*parts, {"type": "text", "text": question}]
    turns = [{"role": "user", "content": content}, {"role": "assistant", "content": text}]
    return {"id": id, "messages": turns, "text": text, **more}


def asked(prompt: str, before: list[str]) -> str:
    """Say what is wanted, behind the sentences that came before."""
    return f'Before: "{" ".join(before)}" {prompt}' if before else prompt


def table(path: Path, separator: str, wanted: tuple[str, ...]) -> list[tuple[str, dict]]:
    """Read a table of values without quotes: (place, {column: value}) of each line.

    Raises:
        ValueError: not there, not UTF-8, columns missing, a line of another number of values.
    """
    from speechllm.data.corpora._lines import read_lines

    if not path.is_file():
        raise ValueError(f"{path}: no such file")
    lines = read_lines(path)
    head = lines[0][1].split(separator) if lines else []
    if missing := [name for name in wanted if name not in head]:
        raise ValueError(f"{path}: no column {', '.join(missing)}; it has {', '.join(head)}")
    rows = []
    for where, line in lines[1:]:
        values = line.split(separator)
        if len(values) != len(head):
            raise ValueError(f"{where}: {len(values)} values for {len(head)} columns")
        rows.append((where, dict(zip(head, values, strict=True))))
    return rows
