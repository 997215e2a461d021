"""Chat messages to ids, labels and slots: the only file of the project that does so.

The builder tokenises pieces itself, each tagged with its kind, and concatenates them. Nothing is
searched for afterwards, and training and decoding call the same function: a decoding prompt is a
prefix of the training example, id for id, because piece boundaries do not depend on the answer.
"""

import itertools
from dataclasses import dataclass, field

from speechllm.data.batch import IGNORE, MEDIA, Kind
from speechllm.data.system import System


@dataclass(frozen=True)
class Config:
    """The text around each turn; `{}` is its content. Special tokens may be written out.

    opening: text before a conversation that does not begin with a system turn.
    medium: the text around each medium; `{n}` is its number in the conversation, from 1.
    next_medium: the text around one that stands right behind another; empty: as around any.
    stops: further tokens that end an answer, of an LLM that knows several.
    """

    bos: bool = True
    system: str = "{}"
    user: str = "{}"
    assistant: str = "{}</s>"
    opening: str = ""
    medium: str = "{}"
    next_medium: str = ""
    stops: tuple[str, ...] = ()

    def __post_init__(self):
        for role in ("system", "user", "assistant", "medium", "next_medium"):
            empty = role == "next_medium" and not self.next_medium
            if not empty and getattr(self, role).count("{}") != 1:
                raise ValueError(f"{role}: wanted one {{}}, got {getattr(self, role)!r}")


@dataclass(frozen=True)
class Encoded:
    """One example as ids, with the kind of each position and (start, count) of each slot.

    `modalities` says what stands in each slot, one of `MEDIA`; `answers` what is answered, as text.
    """

    ids: list[int]
    kinds: list[Kind]
    slots: list[tuple[int, int]]
    modalities: list[str] = field(default_factory=list)
    answers: list[str] = field(default_factory=list)

    @property
    def labels(self) -> list[int]:
        """The id where loss is wanted (answer and close), else `IGNORE`."""
        return [
            i if k in (Kind.ANSWER, Kind.CLOSE) else IGNORE
            for i, k in zip(self.ids, self.kinds, strict=True)
        ]


class Builder:
    """Makes `Encoded` from messages with one tokenizer and one chat format.

    `stops` are the ids that end an answer: the first of its close, and those of `Config.stops`.

    Raises:
        ValueError: pad and eos (or close) are one token, so that a model could never learn to stop;
            a stop that the tokenizer does not know.
    """

    def __init__(self, config: Config, tokenizer):
        self.config = config
        self.tokenizer = tokenizer
        self.close = self._encode(config.assistant.split("{}")[1])
        self._check()
        self.stops = frozenset([self.close[0], *map(self._stop, config.stops)])

    @classmethod
    def of(cls, system: System) -> "Builder":
        """Make the builder that a system's preset and tokenizer ask for."""
        return cls(system.preset.section("chat", Config), system.tokenizer)

    def _check(self) -> None:
        pad, eos = self.tokenizer.pad_token_id, self.tokenizer.eos_token_id
        if pad is None:
            raise ValueError("the tokenizer has no pad token; set one that is not eos")
        if not self.close:
            raise ValueError("[chat] assistant ends with {}: nothing would ever end an answer")
        if pad == eos or pad in self.close:
            raise ValueError(
                f"pad == eos (id {pad}): the model would never learn to stop; "
                "set [llm] pad_token to another special token of the tokenizer"
            )
        if self.config.bos and self.tokenizer.bos_token_id is None:
            raise ValueError(
                "[chat] bos = true, but the tokenizer has no bos token; set bos = false"
            )

    def _stop(self, token: str) -> int:
        """Give the id of a token that ends an answer."""
        id = self.tokenizer.get_vocab().get(token)
        if id is None:
            raise ValueError(f"[chat] stops: {token!r} is no token of the tokenizer")
        return id

    def build(self, messages: list[dict], counts: list[int], answer: bool = True) -> Encoded:
        """Build ids, kinds and slots.

        Args:
            messages: chat messages `{"role", "content": [parts]}`, or content as plain text.
            counts: soft tokens of each medium, in order.
            answer: with the last assistant turn (training), or up to where it starts (decoding).

        Raises:
            ValueError: an unknown role or part, media and counts that do not match in number, a
                placeholder in a text.
        """
        if not answer and messages[-1]["role"] == "assistant":
            messages = messages[:-1]
        pieces = [(Kind.PROMPT, self._bos())] if self.config.bos else []
        if messages[0]["role"] != "system":
            pieces.append((Kind.PROMPT, self.config.opening))
        numbers = itertools.count(1)
        for message in messages:
            pieces += self._turn(message, numbers)
        wanted = sum(kind is Kind.SLOT for kind, _ in pieces)
        if wanted != len(counts):
            raise ValueError(f"{wanted} media in the messages, but {len(counts)} counts given")
        return self._join(pieces, iter(counts))

    def _bos(self) -> list[int]:
        return [self.tokenizer.bos_token_id]

    def _turn(self, message: dict, numbers) -> list[tuple]:
        role, content = message["role"], message["content"]
        if role not in ("system", "user", "assistant"):
            raise ValueError(f"role: wanted system, user or assistant, got {role!r}")
        # only what the model is to say carries loss; the words around it ("A: ") are prompt, but
        # the close, which it must learn to say, has a kind of its own
        before, after = getattr(self.config, role).split("{}")
        parts = [{"type": "text", "text": content}] if isinstance(content, str) else content
        answers = role == "assistant"
        inside = Kind.ANSWER if answers else Kind.PROMPT
        end = Kind.CLOSE if answers else Kind.PROMPT
        within, behind = [], False
        for piece in (_piece(part, inside) for part in parts):
            is_medium = piece[0] is Kind.SLOT
            around = self._around(behind, next(numbers)) if is_medium else ("", "")
            within += [(Kind.PROMPT, around[0]), piece, (Kind.PROMPT, around[1])]
            behind = is_medium
        return [(Kind.PROMPT, before), *within, (end, after)]

    def _around(self, behind: bool, number: int) -> list[str]:
        """Give the text before and behind a medium, which may stand right behind another."""
        form = (self.config.next_medium if behind else "") or self.config.medium
        return form.replace("{n}", str(number)).split("{}")

    def _join(self, pieces: list[tuple], counts) -> Encoded:
        """Tokenise runs of one kind together, so that a prompt reads as one text."""
        # system "<s>", user "U: {}\n", assistant "A: {}</s>", one sound of two soft tokens:
        #
        #     pieces    P"U: "  S<sound>  P" what?"  P"\n"  P"A: "  A"a dog"  C"</s>"
        #     runs      U: | pad pad |  what?\nA:  | a dog | </s>
        #
        # The cut before the answer is there in decoding too, where nothing follows it; a tokenizer
        # given "A: a dog" whole might merge over the cut, and the prompt would be another.
        encoded = Encoded([], [], [])
        for kind, run in itertools.groupby(pieces, key=lambda piece: piece[0]):
            values = [value for _, value in run]
            if kind is Kind.SLOT:
                encoded.modalities.extend(part["type"] for part in values)
            if kind is Kind.ANSWER:
                encoded.answers.append("".join(values))
            for ids in self._run(kind, values, counts):
                if kind is Kind.SLOT:
                    encoded.slots.append((len(encoded.ids), len(ids)))
                encoded.ids.extend(ids)
                encoded.kinds.extend([kind] * len(ids))
        return encoded

    def _run(self, kind: Kind, values: list, counts) -> list[list[int]]:
        if kind is Kind.SLOT:
            # any id would do: soft tokens take these places before the LLM sees them
            return [[self.tokenizer.pad_token_id] * next(counts) for _ in values]
        if kind is Kind.ANSWER:
            # an answer that holds "</s>" as text must not end there
            return [self._encode("".join(values), special=False)]
        ids = [i for value in values if not isinstance(value, str) for i in value]
        ids += self._encode("".join(v for v in values if isinstance(v, str)))
        if (pad := self.tokenizer.pad_token_id) in ids:
            raise ValueError(
                f"a text holds {self.tokenizer.convert_ids_to_tokens(pad)!r}, which stands for "
                'padding and for media: give those as parts, {"type": "audio", ...}'
            )
        return [ids]

    def _encode(self, text: str, special: bool = True) -> list[int]:
        """Tokenise; `special=False` reads a written-out special token as plain characters."""
        if not text:
            return []
        options = {} if special else {"split_special_tokens": True}
        return self.tokenizer(text, add_special_tokens=False, **options)["input_ids"]


def _piece(part: dict, inside: Kind) -> tuple:
    kind = part.get("type")
    if kind in MEDIA:
        return Kind.SLOT, part
    if kind != "text":
        raise ValueError(f"part: wanted text or one of {', '.join(MEDIA)}, got type {kind!r}")
    return inside, part["text"]


def media(messages: list[dict]) -> list[dict]:
    """List the media parts of messages in order."""
    parts = [p for m in messages if not isinstance(m["content"], str) for p in m["content"]]
    return [p for p in parts if p.get("type") in MEDIA]


def spoken(messages: list[dict], row: dict) -> list[dict]:
    """Put what was said in place of each medium: the part's own `text`, else the row's words.

    A row's words are its `transcript`, or its `text` where it has none; they are of one medium.

    Raises:
        ValueError: nobody says what was said.
    """
    alone = len(media(messages)) == 1
    words = (row.get("transcript") or row.get("text")) if alone else None
    return [{**m, "content": _spoken(m["content"], words)} for m in messages]


def _spoken(content, words: str | None):
    if isinstance(content, str):
        return content
    return [part if part["type"] == "text" else _said(part, words) for part in content]


def _said(part: dict, words: str | None) -> dict:
    said = part.get("text") or words
    if not said:
        raise ValueError(
            "a teacher that reads wants the words of each medium: 'text' in its part of the "
            "messages, or 'transcript' in the row of a single medium"
        )
    return {"type": "text", "text": said}
