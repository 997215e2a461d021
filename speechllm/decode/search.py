"""Search: the ids of an answer for each row of a batch, greedily, by sampling or by beams.

Every row has a bound of its own and a guard against loops; rows whose answers have ended leave the
batch, so that in a batch of mixed lengths the long answers do not hold the short ones. A row's
answer does not depend on the rows beside it, also when it is sampled.

Tokens and scores are those of transformers' `generate` with the same settings. A score is the
model's own: the sum of the log-probabilities (nats) of an answer's tokens, its close among them,
divided by the number of tokens to the power of `length_penalty`; filters and temperature choose
among tokens, they do not change what these score. Where CTC takes part its weighted score is added.

R rows that go on, N lines in the LLM (with W beams R * W), V vocabulary.
"""

import math
from collections.abc import Collection, Iterator, Sequence
from dataclasses import asdict, dataclass, field

import torch

from speechllm.decode import beams
from speechllm.decode import draft as drafts
from speechllm.decode.answer import Answer, Ending
from speechllm.decode.draws import drawn, generator
from speechllm.decode.filters import Allow, Filter, Line, suppressed
from speechllm.models.model import Pass
from speechllm.models.reading import Reading

CROWDED = 0.75  # share of rows that go on, from which copying the cache to drop the others pays
BY, AT = ("llm", "ctc", "fusion"), ("step", "end")


@dataclass(frozen=True)
class Config:
    """How to search.

    Attributes:
        num_beams: 1 is greedy, or sampling where there is a temperature.
        temperature: 0 takes the most probable id; above, ids are drawn.
        top_p: draw from the most probable ids that make up this share.
        seed: of the draws; every row begins with it.
        length_penalty: power of the length in a score, above 0 for longer answers. None is 1, the
            mean by token; with CTC or choices 0, the sum: their texts compare as wholes.
        num_best: answers to return of each row, with beams.
        max_repeats: repetitions of one n-gram that end an answer as a loop, 0: no guard.
        by: who decides: "llm"; "ctc", the model's CTC head alone; "fusion", that head and the LLM
            as a language model of text, which reads `lm_prompt` and hears nothing.
        ctc_weight: of what the CTC head says of an answer, beside the LLM; see `decode/joint.py`.
        ctc_at: "step", in the search; "end", only where it puts the `num_best` answers in order.
        ctc_candidates: pieces that the LLM proposes in each step, where CTC takes part.
        lm_prompt: what the LLM reads before the answer, by "fusion".
        choices: the answers that there are, such as ("yes", "no"): the most probable of them is
            found, by as many beams; () any.
        draft: "ctc", what the head reads is a draft of the answer, of which the LLM checks several
            tokens at once (`decode/draft.py`): of one row, found greedily; "" none. The answer is
            the same.
    """

    num_beams: int = 1
    temperature: float = 0.0
    top_p: float = 1.0
    seed: int = 0
    length_penalty: float | None = None
    num_best: int = 1
    max_repeats: int = 10
    by: str = "llm"
    ctc_weight: float = 0.0
    ctc_at: str = "step"
    ctc_candidates: int = 20
    lm_prompt: str = ""
    draft: str = ""
    choices: tuple[str, ...] = ()

    def __post_init__(self):
        """Refuse values that mean nothing."""
        object.__setattr__(self, "choices", tuple(self.choices))
        if self.length_penalty is None:
            whole = self.ctc_weight or self.choices
            object.__setattr__(self, "length_penalty", 0.0 if whole else 1.0)
        if not self.temperature:
            object.__setattr__(self, "num_beams", max(self.num_beams, len(self.choices)))
        checks = {
            "by": (self.by in BY, f"one of {', '.join(BY)}"),
            "ctc_weight": (0 <= self.ctc_weight < math.inf, "0 or more"),
            "draft": (self.draft in ("", "ctc"), "ctc, or nothing"),
            "choices": (
                len({*self.choices}) == len(self.choices) and all(self.choices),
                "different answers, none of them empty",
            ),
            "ctc_at": (self.ctc_at in AT, f"one of {', '.join(AT)}"),
            "ctc_candidates": (self.ctc_candidates >= 1, "1 or more"),
            "num_beams": (self.num_beams >= 1, "1 or more"),
            "temperature": (0 <= self.temperature < math.inf, "0 or more"),
            "top_p": (0 < self.top_p <= 1, "a share above 0, up to 1"),
            "seed": (0 <= self.seed < 2**63, "0 or more"),
            "length_penalty": (math.isfinite(self.length_penalty), "a number"),
            "num_best": (1 <= self.num_best <= self.num_beams, "1 to num_beams"),
            "max_repeats": (self.max_repeats == 0 or self.max_repeats >= 2, "2 or more, or 0"),
        }
        for name, (fine, wanted) in checks.items():
            if not fine:
                raise ValueError(f"{name}: wanted {wanted}, got {getattr(self, name)}")
        if self.temperature and self.num_beams > 1:
            raise ValueError(
                f"num_beams: wanted 1 with a temperature ({self.temperature}), got {self.num_beams}"
            )
        self._check_ctc()

    def _check_ctc(self) -> None:
        """Refuse settings of CTC that do not go together."""
        if self.choices and self.by != "llm":
            raise ValueError(f"choices: are the LLM's to choose from: by llm, got by {self.by}")
        if self.by == "ctc" and (self.num_beams > 1 or self.ctc_weight or self.temperature):
            raise ValueError(
                "by: 'ctc' takes the head's best path, without beams, weight or temperature; "
                "'fusion' searches with a language model"
            )
        if self.by == "fusion" and not (self.ctc_weight and self.ctc_at == "step"):
            raise ValueError("by: 'fusion' wants a ctc_weight above 0, such as 1, in each step")
        if self.ctc_weight and self.temperature:
            raise ValueError("ctc_weight: wanted 0 with a temperature; CTC takes part in beams")
        if self.draft and (
            self.by != "llm" or self.num_beams > 1 or self.temperature or self.joint
        ):
            raise ValueError(
                "draft: is for the LLM's greedy search: by llm, one beam, no ctc_weight, no choices"
            )
        if self.lm_prompt and self.by != "fusion":
            raise ValueError(f"lm_prompt: is for by = 'fusion', got by = {self.by!r}")

    @property
    def joint(self) -> bool:
        """Whether CTC takes part in each step."""
        return self.ctc_weight > 0 and self.ctc_at == "step"

    @property
    def uses_ctc(self) -> bool:
        """Whether the model's CTC head is asked for anything."""
        return self.by != "llm" or self.ctc_weight > 0 or bool(self.draft)

    def facts(self) -> dict:
        """What an answer depends on: CTC's settings and choices where there are any, no draft."""
        ours = ("by", "ctc_weight", "ctc_at", "ctc_candidates", "lm_prompt")
        left_out = {"draft", *(() if self.ctc_weight or self.by != "llm" else ours)}
        left_out |= set() if self.choices else {"choices"}
        return {k: v for k, v in asdict(self).items() if k not in left_out}


def usual(preset, options: dict, task: str = "") -> dict:
    """Give options with the fields of `Config` that a preset's `[search]` has for its own task.

    Where any field is among the options, they alone are meant; another task by name knows none.

    Raises:
        ValueError: a setting in the preset that there is not, or that means nothing.
    """
    named = asdict(preset.section("search", Config))  # checked, whether or not it is meant
    is_own = task in ("", preset.table("task").get("name"))
    return named | options if is_own and not named.keys() & options.keys() else options


def answers(
    result: Pass,
    bounds: list[int],
    stops: Collection[int],
    pad: int,
    config: Config = Config(),  # noqa: B008  # frozen
    filters: Sequence[Filter] = (),
) -> list[Answer]:
    """Find an answer for each row of a pass.

    Args:
        result: a pass over a batch of prompts (left-padded).
        bounds: most tokens of each row's answer, at least 1.
        stops: ids that end an answer, any of them.
        pad: the tokenizer's pad id, which is never said.
        config: how to search.
        filters: what may be said next, in this order; see `decode/filters.py`.

    Raises:
        FloatingPointError: the model computes no numbers; names the utterances.
        ValueError: the filters leave nothing to say.
    """
    steps = said(result, bounds, stops, pad, config, filters)
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return end.value


def said(
    result: Pass,
    bounds: list[int],
    stops: Collection[int],
    pad: int,
    config: Config = Config(),  # noqa: B008  # frozen
    filters: Sequence[Filter] = (),
    draft: drafts.Draft | None = None,
) -> Iterator[list[tuple[int, int]]]:
    """Search as `answers` does, step by step.

    Yields after each step what was said in it, as (row, id), and returns the answers. Of beams
    nothing is certain before the end: they yield empty lists. `draft`: of the only row's answer.
    """
    filters = suppressed([pad]), *filters
    ending = Ending(bounds, frozenset(stops), config.max_repeats, config.length_penalty)
    allow = Allow(filters, result.batch.names)
    with result.joined() as embeddings:
        reading = Reading(result, embeddings, rewinds=draft is not None)
        if draft is not None:
            return (yield from drafts.search(reading, ending, allow, draft))
        if config.num_beams > 1 or config.joint:  # one beam is greedy, by the score of both
            return (yield from beams.search(reading, ending, config, allow))
        return (yield from _one_by_one(reading, ending, config, allow))


@dataclass
class Row:
    """One answer as it grows; after its end it takes no more."""

    row: int
    draw: torch.Generator | None
    ids: list[int] = field(default_factory=list)
    total: float = 0.0
    why: str = ""


def _one_by_one(reading: Reading, ending: Ending, config: Config, allow: Allow):
    """Take the best or a drawn id in each step."""
    device = reading.scores.device
    rows = [Row(row, generator(config, device)) for row in range(len(ending.bounds))]
    going = rows
    while True:
        ids, news = grown(reading, going, ending, config, allow)
        yield news
        left = [i for i, row in enumerate(going) if not row.why]
        if not left:
            return [ending.close(row.ids, row.why, row.total) for row in rows]
        # Rows that have ended are read on, their ids thrown away, until enough of them have:
        # cutting them out copies the whole cache, which costs more than a few rows too many.
        if len(left) <= CROWDED * len(going):
            kept = torch.tensor(left, device=device)
            going, ids = [going[i] for i in left], ids[kept]
            reading.keep(kept)
        reading.step(ids)


def grown(reading: Reading, going: list[Row], ending: Ending, config: Config, allow: Allow):
    """Let each row that goes on grow by an id; gives all lines' ids (N,) and (row, id) of these."""
    own = reading.scores
    allowed = allow(own, [Line(r.row, r.ids) for r in going])
    ids = drawn(allowed, going, config) if config.temperature else allowed.argmax(-1)
    totals = own.gather(1, ids[:, None])[:, 0].tolist()
    news = []
    for row, id, score in zip(going, ids.tolist(), totals, strict=True):
        if row.why:
            continue
        row.ids.append(id)
        row.total += score
        row.why = ending.why(row.row, row.ids)
        news.append((row.row, id))
    return ids, news
