"""LLM and CTC together: scores that add up, in any batch; words that the LLM would never guess."""

import dataclasses
import json

import pytest
import torch

from speechllm import cli, config
from speechllm.data.collate import collate
from speechllm.data.examples import Example, Examples
from speechllm.data.manifest import Manifest
from speechllm.decode import search
from speechllm.decode.ask import Answerer
from speechllm.decode.deaf import text_prompt
from speechllm.decode.filters import Line
from speechllm.decode.heard import Heard, head_of
from speechllm.decode.joint import Joint
from speechllm.decode.run import Options, decode
from speechllm.decode.spelling import Letters
from speechllm.models.alphabet import Alphabet
from speechllm.models.system import System
from tests.decode.searched import HEADS, batch_of, hearing, made


@pytest.fixture(scope="module", params=HEADS)
def speller(request, tiny):
    return made(tiny, request.param)


def llm_score(model, batch, ids: list[int]) -> float:
    """Sum of the LLM's log-probabilities of one row's answer, read once and whole."""
    result = model(batch)
    with result.joined() as embeddings, torch.no_grad():
        answer = model.llm.get_input_embeddings()(torch.tensor([ids]))
        logits = model.llm(inputs_embeds=torch.cat([embeddings, answer], 1)).logits[0]
    scores = logits[embeddings.shape[1] - 1 : -1].float().log_softmax(-1)
    return sum(scores[i, id].item() for i, id in enumerate(ids))


@torch.no_grad()
def test_scores_are_sums_of_both(speller, tiny):
    """Of all four answers, each held against a fresh reading and the whole text's CTC score."""
    system, model = speller
    settings = search.Config(
        num_beams=4, num_best=4, ctc_weight=0.7, ctc_candidates=4, length_penalty=0.0
    )
    answerer = Answerer(system, model, settings)
    stop = min(answerer.stops)
    for row in range(2):
        batch = batch_of(system, tiny, [row])
        heard = Heard.of(model(batch), system.tokenizer, answerer.spelling)
        (answer,) = answerer(batch, [9])
        assert len({tuple(one.ids) for one in (answer, *answer.alternatives)}) == 4
        for one in (answer, *answer.alternatives):
            if one.stop != "eos":
                continue
            whole = heard.scores([0], [answerer.spelling.whole(one.ids)])[0]
            wanted = llm_score(model, batch, [*one.ids, stop]) + 0.7 * whole
            assert one.score == pytest.approx(wanted, abs=1e-3)


@pytest.mark.parametrize("beams", [1, 3])
@torch.no_grad()
def test_a_row_is_answered_as_alone(speller, tiny, beams):
    system, model = speller
    settings = search.Config(num_beams=beams, num_best=beams, ctc_weight=1.5, ctc_candidates=5)
    answerer = Answerer(system, model, settings)
    together = answerer(batch_of(system, tiny), [9, 4, 12, 7])
    alone = [answerer(batch_of(system, tiny, [row]), [n])[0] for row, n in enumerate((9, 4, 12, 7))]
    assert together == alone
    for one, other in zip(together, alone, strict=True):
        assert one.score == pytest.approx(other.score, abs=1e-4)


@pytest.mark.parametrize("beams", [1, 4])
@torch.no_grad()
def test_the_head_writes_what_the_llm_would_not(speller, tiny, beams, monkeypatch):
    """One candidate of the LLM's in each step, which is never what was said."""
    system, model = speller
    batch, bounds = batch_of(system, tiny), [40] * 4
    hearing(monkeypatch, system, model, "low hihi say")
    settings = search.Config(num_beams=beams, ctc_weight=5.0, ctc_candidates=1)
    answers = Answerer(system, model, settings)(batch, bounds)
    assert {answer.text for answer in answers} == {"low hihi say"}
    assert {
        one.text for one in Answerer(system, model, search.Config(by="ctc"))(batch, bounds)
    } == {"low hihi say"}
    fused = dataclasses.replace(settings, by="fusion")
    assert {one.text for one in Answerer(system, model, fused)(batch, bounds)} == {"low hihi say"}
    alone = Answerer(system, model)(batch, bounds)
    assert all("low hihi say" != one.text for one in alone)


@torch.no_grad()
def test_candidates_that_share_a_beginning_score_as_each_alone(speller, tiny):
    """All pieces at once, held against each spelled by itself; over beginnings of several steps."""
    system, model = speller
    batch = batch_of(system, tiny)
    spelling = Answerer(system, model, search.Config(ctc_weight=1.0)).spelling
    heard = Heard.of(model(batch), system.tokenizer, spelling)
    joint = Joint(heard.prefixes, spelling, 1.0, [2], candidates=model.vocab_size)
    nothing = torch.zeros(3, model.vocab_size)
    begun = [[5, 6, 9], [7], [7, 7, 5]]
    for step in range(4):
        lines = [Line(row, ids[:step]) for row, ids in enumerate(begun)]
        gains = joint(nothing.clone(), lines)
        for line, scores in zip(lines, gains, strict=True):
            before = heard.prefixes.begin(torch.tensor([line.row]))
            before = heard.prefixes.spell(before, [spelling.whole(line.ids)])
            for id in range(model.vocab_size):
                units = spelling.units(id, int(before.last))
                after = heard.prefixes.spell(before, [units])
                wanted = after.total if id != 2 else heard.prefixes.whole(before)
                gain = (wanted - before.total).item()
                if scores[id] > -torch.inf:
                    assert scores[id].item() == pytest.approx(gain, abs=1e-4)
                else:
                    strange = spelling.strange(model.vocab_size)[id]
                    never = strange or not spelling.writable(id, int(before.last))
                    assert gain < -20 or never, "hopeless, or not writable"
        assert (gains > -torch.inf).sum() > 20


@torch.no_grad()
def test_fusion_hears_by_ctc_alone(speller, tiny):
    """The LLM reads its own prompt, no medium; where a text ends it has no say."""
    system, model = speller
    settings = search.Config(
        by="fusion", ctc_weight=0.5, num_beams=2, lm_prompt="say", length_penalty=0.0
    )
    answerer = Answerer(system, model, settings)
    batch = batch_of(system, tiny, [1])
    (answer,) = answerer(batch, [12])
    ids = [system.tokenizer.bos_token_id]
    ids += system.tokenizer("say", add_special_tokens=False)["input_ids"]
    logits = model.llm(torch.tensor([ids + answer.ids])).logits[0].float()
    logits[:, answerer.spelling.strange(model.vocab_size)] = -torch.inf  # shares of the others
    logits[:, sorted(answerer.stops)] = -torch.inf
    scores = logits.log_softmax(-1)
    read = sum(scores[len(ids) - 1 + i, id].item() for i, id in enumerate(answer.ids))
    heard = Heard.of(model(batch), system.tokenizer, answerer.spelling)
    whole = heard.scores([0], [answerer.spelling.whole(answer.ids)])[0]
    assert answer.stop == "eos" and answer.score == pytest.approx(read + 0.5 * whole, abs=1e-3)


@torch.no_grad()
def test_at_the_end_the_n_best_change_their_order(speller, tiny):
    system, model = speller
    plain = search.Config(num_beams=4, num_best=4)
    batch, bounds = batch_of(system, tiny), [9] * 4
    before = Answerer(system, model, plain)(batch, bounds)
    settings = dataclasses.replace(plain, ctc_weight=3.0, ctc_at="end")
    answerer = Answerer(system, model, settings)
    after = answerer(batch, bounds)
    heard = Heard.of(model(batch), system.tokenizer, answerer.spelling)
    for row, (one, other) in enumerate(zip(before, after, strict=True)):
        old, new = ([a, *a.alternatives] for a in (one, other))
        assert sorted(a.ids for a in old) == sorted(a.ids for a in new)
        assert [a.score for a in new] == sorted((a.score for a in new), reverse=True)
        of = {tuple(a.ids): a.score for a in old}
        for a in new:
            length = len(a.ids) + (a.stop == "eos")
            gain = heard.scores([row], [answerer.spelling.whole(a.ids)])[0] / length
            assert a.score == pytest.approx(of[tuple(a.ids)] + 3 * gain, abs=1e-4)
    assert [a.ids for a in before] != [a.ids for a in after]


@torch.no_grad()
def test_a_head_of_pieces_scores_whole_texts_alone(tiny):
    """Longer pieces where they fit; in each step it is refused before anything is heard."""
    system, model = made(tiny, "pieces")
    head = head_of(model)
    units = (" ", *"abcdefghijklmnopqrstuvwxyz", " lo", "id", " mi")
    head.alphabet = Alphabet((*units, *(f"-{i}" for i in range(head.blank - len(units)))), ())
    settings = search.Config(num_beams=4, num_best=4, ctc_weight=2.0, ctc_at="end")
    answerer = Answerer(system, model, settings)
    ids = system.tokenizer("low mid", add_special_tokens=False)["input_ids"]
    spelled = [head.alphabet.units[unit] for unit in answerer.spelling.whole(ids)]
    assert spelled == [" lo", "w", " mi", "d"]
    batch = batch_of(system, tiny)
    plain = Answerer(system, model, search.Config(num_beams=4, num_best=4, length_penalty=0.0))
    before, after = plain(batch, [9] * 4), answerer(batch, [9] * 4)
    heard = Heard.of(model(batch), system.tokenizer, answerer.spelling)
    for row, (one, other) in enumerate(zip(before, after, strict=True)):
        of = {tuple(a.ids): a.score for a in (one, *one.alternatives)}
        for a in (other, *other.alternatives):
            text = tuple(head.alphabet.spell(a.text)) if a.text else ()
            gain = heard.scores([row], [text])[0]
            assert a.score == pytest.approx(of[tuple(a.ids)] + 2 * gain, abs=1e-3)
    assert [a.ids for a in before] != [a.ids for a in after]
    for options in ({}, {"by": "fusion"}):
        with pytest.raises(ValueError, match="depends on the letters to come: .*--ctc-at end"):
            Answerer(system, model, search.Config(ctc_weight=1.0, **options))


@torch.no_grad()
def test_a_folder_of_ctc_alone_is_scored(speller, tiny, tmp_path, capsys):
    system, model = speller
    manifest = Manifest(tiny / "valid.jsonl")
    options = Options(search=search.Config(by="ctc"), workers=0)
    decode(system, model, manifest, tmp_path, options)
    rows = [json.loads(line) for line in (tmp_path / "hyp.jsonl").read_text().splitlines()]
    head, found = head_of(model), {}
    examples = Examples.of(system, manifest, answer=False)
    pad = system.tokenizer.pad_token_id
    for i, row in enumerate(manifest):
        (path,) = head.greedy(model(collate([examples.make(0, i)], pad)))
        text = system.tokenizer.decode(path, skip_special_tokens=True).strip()
        if head.letters:
            text = " ".join("".join(head.letters[u] for u in path).split())
        found[row["id"]] = text
    assert {row["id"]: row["hyp"] for row in rows} == found and any(found.values())
    assert cli.main(["score", str(tmp_path)]) == 0 and "%WER" in capsys.readouterr().out
    with pytest.raises(ValueError, match='options.search.by: "ctc" -> null'):
        decode(system, model, manifest, tmp_path, Options(workers=0))


def test_what_is_not_there_is_said(tiny):
    """A head that nobody trained, or none at all; a row without a sound."""
    system, model = made(tiny, "letters")
    model.heads.clear()
    with pytest.raises(ValueError, match=r"adapter was never trained: train a phase .*--by llm"):
        Answerer(system, model, search.Config(ctc_weight=0.3))
    bare = System.open(config.load(tiny / "tiny.toml"), str(tiny / "bpe"))
    with pytest.raises(ValueError, match=r"no CTC head: a phase with objectives"):
        Answerer(bare, bare.build(), search.Config(by="ctc"))
    system, model = made(tiny, "pieces")
    answerer = Answerer(system, model, search.Config(by="ctc"))
    texts = [Example({"id": name}, text_prompt(system.tokenizer), [], []) for name in "ab"]
    with pytest.raises(ValueError, match=r"CTC reads one sound: a has 0"):
        answerer(answerer.batch(texts), [5, 5])


@pytest.mark.parametrize(
    ("options", "wanted"),
    [
        ({"by": "me"}, "by: wanted one of llm, ctc, fusion, got me"),
        ({"by": "fusion"}, "'fusion' wants a ctc_weight above 0"),
        ({"by": "ctc", "num_beams": 2}, "'ctc' takes the head's best path, without beams"),
        ({"ctc_weight": 1.0, "temperature": 1.0}, "ctc_weight: wanted 0 with a temperature"),
        ({"ctc_weight": -1.0}, "ctc_weight: wanted 0 or more, got -1.0"),
        ({"ctc_at": "never"}, "ctc_at: wanted one of step, end, got never"),
        ({"lm_prompt": "x"}, "lm_prompt: is for an LLM that hears nothing"),
    ],
)
def test_settings_that_do_not_go_together(options, wanted):
    with pytest.raises(ValueError, match=wanted):
        search.Config(**options)


def test_a_decode_of_before_goes_on():
    """What it was told of its search says nothing of CTC, and does not now."""
    before = {"num_beams", "temperature", "top_p", "seed", "length_penalty", "num_best"}
    assert search.Config().facts().keys() == before | {"max_repeats"}
    assert search.Config(ctc_weight=0.1).facts()["ctc_weight"] == 0.1


class Bytes:
    """A tokenizer of a few pieces, as far as `Letters` asks."""

    all_special_ids = (0,)
    pieces = ("<s>", " ", "a", " The", "the", "s", "-", " a,", "  ", "'")

    def __len__(self):
        return len(self.pieces)

    def decode(self, ids, **options):
        return "".join(self.pieces[i] for i in ids if i).strip()

    def batch_decode(self, many, **options):
        return [self.decode(ids) if ids[1] in (0,) else
                "".join(self.pieces[i] for i in ids) for ids in many]  # fmt: skip


def test_pieces_are_spelled_as_the_head_was_taught():
    letters = " aehst'"
    spelling = Letters(Bytes(), letters)
    spelled = {piece: "".join(letters[u] for u in spelling.units(id, letters.index("a")))
               for id, piece in enumerate(Bytes.pieces)}  # fmt: skip
    assert spelled == {
        "<s>": "", " ": " ", "a": "a", " The": " the", "the": "the", "s": "s", "-": "", " a,": " a",
        "  ": " ", "'": "'",
    }  # fmt: skip
    first = ["".join(letters[u] for u in spelling.units(3, last)) for last in (-1, 0, 1)]
    assert first == ["the", " the", " the"], "no space in front"
    heard = [letters.index(c) for c in "thes"]
    assert [ids.tolist() for ids in spelling.starts(heard, -1)] == [[4, 3]]
    assert [ids.tolist() for ids in spelling.starts(heard, 1)] == [[4]]
    assert spelling.strange(12).nonzero()[:, 0].tolist() == [0, 10, 11], "special, and no piece"
    follow = [[id for id in range(1, 10) if spelling.writable(id, last)] for last in (-1, 0, 1)]
    assert follow == [[2, 3, 4, 5, 6, 7, 9], [2, 4, 5, 6, 9], [*range(1, 10)]]


def test_beside_a_deaf_llm_only_what_the_head_knows_is_written():
    """Pieces with anything but its letters cost nothing by CTC: they would never end."""
    alone = Letters(Bytes(), " aehst'", alone=True)
    assert alone.strange(10).nonzero()[:, 0].tolist() == [0, 3, 6, 7]
