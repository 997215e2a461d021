"""One training step of real parts: as it was, as it is, compiled, and as transformers and peft do.

    python benchmarks/model.py --parts DIR [--runs 3] [--compile]

DIR holds whisper-base and gemma-3-270m. Whisper base, the `conv` adapter and Gemma with LoRA in all
Linears (preset whisper_llm, phase lora), bf16 by autocast, four utterances of 14 s of noise with 38
words each. "before" switches off what makes "now" fast: LoRA is peft's own layer, attention torch's
fused one, logits are made whole. The peer is a model as one writes it with transformers and peft:
WhisperEncoder on windows of 30 s, our adapter, `get_peft_model`, the loss of the LLM's own forward.
Steps are interleaved, figures are medians; the front end is outside the clock.
"""

import collections
import statistics
import time

import torch
from model_clock import Laps, peak_mb, roof
from torch import nn
from torch.profiler import profile

from speechllm import config
from speechllm.data.chat import Builder
from speechllm.data.collate import collate
from speechllm.data.examples import Example
from speechllm.models import compiled
from speechllm.models.attention import NAME
from speechllm.models.fused import Fused, Linear, fuse
from speechllm.models.system import System
from speechllm.objectives import language_modelling

SECONDS, ROWS, CLIP = 14.0, 4, 1.0
TEXT = (
    "he hoped there would be stew for dinner turnips and carrots and bruised potatoes and fat "
    "mutton pieces to be ladled out in thick peppered flour fattened sauce stuff it into you his "
    "belly counselled him after early nightfall"
)
KINDS = {
    "matrix products": ("mm", "addmm", "bmm", "baddbmm", "addmm_", "mkldnn_convolution"),
    "fused attention": ("flash",),
    "softmax": ("softmax", "max", "logsumexp", "nll_loss"),
    "copies": ("copy_", "fill_", "clone", "cat"),
    "compiled code": ("CompiledFxGraph",),
    "elementwise": ("mul", "add", "gelu", "pow", "sum", "div", "rsqrt", "neg", "norm", "mean"),
}


def main(args) -> None:
    """Print the table."""
    system = System.open(_preset(args.parts))
    model = system.build().train()
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name.startswith("adapter.") or "lora_" in name)
    model.encoder.eval()
    batch, objective = _batch(system), language_modelling.Config().build(model)

    def ours():
        result = model(batch)
        _ = result.states
        yield
        total, count = objective(result)
        yield total / count

    steps = {
        "before": _step(model, ours, lambda: _before(model, True)),
        "now": _step(model, ours, lambda: _before(model, False)),
    }
    peer = _Peer(args.parts, model, batch)
    steps["transformers + peft"] = _step(peer, peer.pass_)
    same = _step(peer, lambda: peer.pass_(model(batch).states[0]))
    print(f"{torch.get_num_threads()} threads, torch {torch.__version__}, {ROWS} x {SECONDS:g} s, "
          f"{batch.ids.numel()} positions, {int(batch.wanted.sum())} targets")  # fmt: skip
    _agree(steps | {"transformers + peft, on our states": same})
    if args.compile:
        began = time.perf_counter()
        compiled.compile_layers(model.llm)
        steps["now, compiled"] = _step(model, ours, lambda: _before(model, False))
        steps["now, compiled"]()
        print(f"compiled in {time.perf_counter() - began:.0f} s, a first step included")
        plain = {name: steps[name] for name in ("before", "now")}
        for name, step in plain.items():
            steps[name] = lambda step=step: _eager(step)
    _table(steps, args.runs)
    for name in steps:
        if name != "transformers + peft":
            print(f"{name}: {_kinds(steps[name])}")
    roof({name: step for name, step in steps.items() if name != "now, compiled"}, args.runs)


def _preset(folder):
    return config.load(
        "whisper_llm",
        [f"encoder.pretrained={folder}/whisper-base", f"llm.pretrained={folder}/gemma-3-270m"],
    )


def _batch(system: System):
    rate, builder, examples = system.extractor.sampling_rate, Builder.of(system), []
    for i in range(ROWS):
        generator = torch.Generator().manual_seed(i)
        x, n = system.extractor(0.1 * torch.randn(int(SECONDS * rate), generator=generator))
        talk = [
            {"role": "user", "content": [{"type": "audio"}]},
            {"role": "assistant", "content": TEXT},
        ]
        encoded = builder.build(talk, [system.soft_tokens(n)], True)
        examples.append(Example({"id": str(i), "duration": SECONDS}, encoded, [x], [n]))
    return collate(examples, system.tokenizer.pad_token_id)


def _before(model: nn.Module, yes: bool) -> None:
    """Switch off (or on) what makes a step fast."""
    for module in model.llm.modules():
        if isinstance(module, Linear):
            module.__class__ = Linear
    if not yes:
        fuse(model.llm)
    for part in (model.llm, model.encoder.model):
        part.config._attn_implementation = "sdpa" if yes else NAME
    model.llm.__dict__["sliced"] = not yes
    assert any(type(m) is Fused for m in model.llm.modules()) is not yes


def _step(model: nn.Module, passes, prepare=lambda: None):
    """Make a step: it answers with the loss and the seconds of encoder, forward, backward, update.

    passes: yields when the encoder is done, then the loss.
    """
    learning = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(learning, lr=0.0, fused=True)  # the same weights in all steps

    def step():
        prepare()
        clock = Laps()
        with torch.autocast("cpu", torch.bfloat16):
            going = passes()
            next(going)
            clock.lap()
            loss = next(going)
        clock.lap()
        loss.backward()
        clock.lap()
        norm = torch.nn.utils.clip_grad_norm_(learning, CLIP)
        optimizer.step()
        optimizer.zero_grad()
        clock.lap()
        return loss.item(), float(norm), clock.laps

    return step


class _Peer(nn.Module):
    """The same weights in a model of transformers and peft."""

    def __init__(self, folder, ours, batch):
        from peft import LoraConfig, get_peft_model
        from transformers import AutoModelForCausalLM, WhisperModel

        super().__init__()
        whisper = WhisperModel.from_pretrained(f"{folder}/whisper-base", dtype=torch.float32)
        self.encoder = whisper.encoder.requires_grad_(False).eval()
        self.adapter = ours.adapter
        llm = AutoModelForCausalLM.from_pretrained(f"{folder}/gemma-3-270m", dtype=torch.bfloat16)
        lora = LoraConfig(r=16, lora_alpha=32, target_modules="all-linear", task_type="CAUSAL_LM")
        self.llm, self.batch, self.slots = get_peft_model(llm, lora), batch, batch.slots.tolist()
        state = {f"base_model.model.{k}": v for k, v in ours.llm.state_dict().items()}
        self.llm.load_state_dict(state)

    def pass_(self, states=None):
        batch, (x, n) = self.batch, self.batch.media["audio"]
        if states is None:
            with torch.no_grad():
                states = self.encoder(x.transpose(1, 2)).last_hidden_state
        steps = (n + 1) // 2
        yield
        tokens, lengths = self.adapter(states[:, : int(steps.max())], steps)
        embeddings = self.llm.get_input_embeddings()(batch.ids)
        rows = []
        for one, (row, start, _), own, count in zip(
            embeddings, self.slots, tokens, lengths.tolist(), strict=True
        ):
            del row
            soft = own[:count].to(one.dtype)
            rows.append(torch.cat([one[:start], soft, one[start + count :]]))
        yield self.llm(
            inputs_embeds=torch.stack(rows), attention_mask=batch.segments, labels=batch.labels
        ).loss


def _agree(steps: dict) -> None:
    """Run each once, and print losses and norms of the gradient."""
    for name, step in steps.items():
        loss, norm, _ = step()
        print(f"{name}: loss {loss:.4f}, gradient {norm:.1f}")


def _eager(step):
    with compiled.as_they_are():
        return step()


def _table(steps: dict, runs: int) -> None:
    laps = collections.defaultdict(list)
    for _ in range(runs):  # they have run once before
        for name, step in steps.items():
            laps[name].append(step()[2])
    print(f"{'':<22}{'encoder':>9}{'forward':>9}{'backward':>9}{'update':>8}{'step s':>8}"
          f"{'RTFx':>7}{'times':>7}{'without encoder':>17}{'peak MB':>9}")  # fmt: skip
    medians = {
        name: [statistics.median(one) for one in zip(*taken, strict=True)]
        for name, taken in laps.items()
    }
    first = medians["before"]
    for name, parts in medians.items():
        cells = "".join(f"{part:>{w}.2f}" for part, w in zip(parts, (9, 9, 9, 8), strict=True))
        whole = sum(parts)
        print(f"{name:<22}{cells}{whole:>8.2f}{ROWS * SECONDS / whole:>7.1f}"
              f"{sum(first) / whole:>7.2f}{sum(first[1:]) / sum(parts[1:]):>17.2f}"
              f"{peak_mb(steps[name], 'cpu'):>9.0f}")  # fmt: skip


def _kinds(step) -> str:
    """Say what share of a step's time is of which kind."""
    with profile() as seen:
        step()
    times = collections.Counter()
    for event in seen.key_averages():
        name = event.key.removeprefix("aten::").lstrip("_")
        kinds = (
            kind
            for kind, words in KINDS.items()
            if name in words or any(len(w) > 4 and w in name for w in words)
        )
        times[next(kinds, "other")] += event.self_cpu_time_total
    whole = sum(times.values())
    return ", ".join(f"{kind} {100 * us / whole:.0f} %" for kind, us in times.most_common())
