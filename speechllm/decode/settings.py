"""How an answer is searched for: the settings, which go together, and a preset's own."""

import math
from dataclasses import asdict, dataclass

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
        lm_weight: of what the LLM says of an answer without LoRA, having heard nothing, beside what
            it says of it otherwise; see `decode/deaf.py`.
        ctc_at: "step", in the search; "end", only where it puts the `num_best` answers in order.
        ctc_candidates: pieces that the LLM proposes in each step, where CTC takes part.
        lm_prompt: what the LLM reads before the answer where it hears nothing.
        choices: the answers that there are, such as ("yes", "no"): the most probable of them is
            found, by as many beams; () any.
        draft: "ctc", what the head reads is a draft of the answer, of which the LLM checks several
            tokens at once (`decode/draft.py`): of one row, found greedily; "" none. The answer is
            the same.
        exact: in bfloat16 on a processor rows beside others say, to the bit, what each says alone
            (`models/alike.py`), which takes longer; without beams. A row by itself, with a draft or
            without, always does, and in float32 all do but for rounding in the seventh digit.
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
    lm_weight: float = 0.0
    ctc_at: str = "step"
    ctc_candidates: int = 20
    lm_prompt: str = ""
    draft: str = ""
    choices: tuple[str, ...] = ()
    exact: bool = False

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
            "lm_weight": (0 <= self.lm_weight < math.inf, "0 or more"),
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
        if self.lm_weight and (self.by != "llm" or self.draft or self.exact or self.temperature):
            raise ValueError(
                "lm_weight: is for the LLM's search (by llm), without temperature, draft or exact"
            )
        if self.exact and (self.num_beams > 1 or self.uses_ctc and not self.draft):
            raise ValueError(
                "exact: is for the LLM's search without beams: one beam, no CTC weight"
            )
        if self.lm_prompt and self.by != "fusion" and not self.lm_weight:
            raise ValueError("lm_prompt: is for an LLM that hears nothing, by fusion or lm_weight")

    @property
    def joint(self) -> bool:
        """Whether CTC takes part in each step."""
        return self.ctc_weight > 0 and self.ctc_at == "step"

    @property
    def alone(self) -> bool:
        """Whether the LLM that hears is all that is asked."""
        return not (self.uses_ctc or self.lm_weight)

    @property
    def uses_ctc(self) -> bool:
        """Whether the model's CTC head is asked for anything."""
        return self.by != "llm" or self.ctc_weight > 0 or bool(self.draft)

    def facts(self) -> dict:
        """What an answer depends on: CTC's settings and choices where there are any, no draft."""
        ours = ("by", "ctc_weight", "ctc_at", "ctc_candidates", "lm_prompt")
        together = self.ctc_weight or self.lm_weight or self.by != "llm"
        left_out = {"draft", *(() if together else ours)}
        left_out |= {name for name in ("choices", "exact", "lm_weight") if not getattr(self, name)}
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
