"""A model card: what a model is made of, what it was trained on, what it scores; nothing guessed.

The head is what the Hub reads (YAML); the rest is for people.
"""

from dataclasses import dataclass, field

from speechllm.report import collect
from speechllm.report.collect import Experiment

UNKNOWN = "not said there"


@dataclass(frozen=True)
class Quantised:
    """What quantising did: its kind, bytes of the LLM before and after, result lines by name."""

    kind: str
    sizes: tuple[int, int]
    lines: dict[str, str]


@dataclass(frozen=True)
class Card:
    """What a card says.

    Attributes:
        name: of the model.
        preset: its system's name.
        parts: part of the model -> (where its weights come from, the licence said there, or "").
        how: in which form it is here, sentences.
        use: lines of code that load it.
        base: id or folder of the published model that it was made from, "".
        experiment: of training and scores; None where there is none.
        tags: words for the Hub.
        quantised: what quantising did; None where nothing was.
    """

    name: str
    preset: str
    parts: dict[str, tuple[str, str]]
    how: str
    use: str
    base: str = ""
    experiment: Experiment | None = None
    tags: tuple[str, ...] = field(default=("speech", "automatic-speech-recognition"))
    quantised: Quantised | None = None


def text(card: Card) -> str:
    """Write a card as Markdown."""
    head = ["---", "library_name: transformers", "tags:", *(f"- {tag}" for tag in card.tags)]
    if card.base and not card.base.startswith(("/", ".")):
        head.append(f"base_model: {card.base}")
    body = [*head, "---", "", f"# {card.name}", "", card.how, ""]
    body += ["```python", card.use.strip(), "```", "", "## Parts", ""]
    body += ["| part | from | licence |", "|---|---|---|"]
    for part, (source, licence) in card.parts.items():
        body.append(f"| {part} | {collect.portable(source) or 'nothing'} | {licence or UNKNOWN} |")
    body += ["", "The licence of the whole is bound by those of its parts and of its data.", ""]
    return "\n".join(
        [
            *body,
            *_results(card.experiment),
            *_quantised(card.quantised),
            *_training(card.experiment),
        ]
    )


def _results(experiment: Experiment | None) -> list[str]:
    lines = [str(score.values["line"]) for score in experiment.scores] if experiment else []
    if not lines:
        return ["## Results", "", "Not scored.", ""]
    names = [collect.set_name(score) for score in experiment.scores]
    told = [f"{name}: {line}" for name, line in zip(names, lines, strict=True)]
    return ["## Results", "", "```", *told, "```", ""]


def _quantised(done: Quantised | None) -> list[str]:
    if done is None:
        return []
    before, after = done.sizes
    rows = [f"| before | {before / 1e6:,.1f} MB | {_score(done.lines.get('before'))} |"]
    rows.append(f"| {done.kind} | {after / 1e6:,.1f} MB | {_score(done.lines.get('after'))} |")
    lines = [f"{name}: {line}" for name, line in done.lines.items()]
    shown = ["", "```", *lines, "```"] if lines else []
    return ["## Quantised", "", "| LLM | weights | score |", "|---|---:|---:|", *rows, *shown, ""]


def _score(line: str | None) -> str:
    return " ".join(line.split()[:2]).removeprefix("%") + " %" if line else "not measured"


def _training(experiment: Experiment | None) -> list[str]:
    if experiment is None or not experiment.run:
        return []
    rows = [f"| {key} | {value} |" for key, value in collect.facts(experiment).items()]
    data = experiment.run.get("data", {})
    rows += [f"| data, {name} | digest {digest} |" for name, digest in data.items()]
    return ["## Training", "", "| | |", "|---|---|", *rows, ""]
