"""`speechllm export`: a model of ours in the forms that other programs read."""

import argparse
from pathlib import Path

EPILOG = """transformers   an imported model, perhaps trained on, as its family's own classes read
               it: names, files and types of the checkpoint it came from, our weights, its
               processor. A LoRA that was added stands beside in OUT/lora (peft), or is merged
peft           the LoRA alone, for peft, transformers and vLLM, on the published model
parts          any model: OUT/llm for AutoModelForCausalLM, OUT/encoder for its class of
               transformers, where it is one; the rest as safetensors; of models like SLAM-ASR
               OUT/transcribe.py, which runs where speechllm is not

--quantize writes the LLM's layers in fewer bits, its LoRA merged (--merge), for from_pretrained:
int8 as torchao has them, int4 as compressed-tensors packs them, which vLLM reads, too. --measure
MANIFEST decodes with the LLM before and after, and the card says both scores.

A model card, OUT/README.md, has its result, data and parts. --push sends OUT to the Hub, private,
with the token that `hf auth login` has put there.

examples:
  speechllm export exp/tuned --like Qwen/Qwen2-Audio-7B-Instruct --to transformers --merge --out q
  speechllm export exp/tuned --like Qwen/Qwen2-Audio-7B-Instruct --to peft --out q_lora
  speechllm export exp/slam --to parts --out slam --push me/slam
  speechllm export exp/slam --to parts --merge --quantize int8 --measure test.jsonl --out slam8
  speechllm export exp/tuned --like Qwen/Qwen2-Audio-7B-Instruct --to transformers --merge \
      --quantize int4 --out q4"""

LOAD = {
    "transformers": "from transformers import AutoModel{kind}, AutoProcessor\n\n"
    'processor = AutoProcessor.from_pretrained("{name}")\n'
    'model = AutoModel{kind}.from_pretrained("{name}")',
    "peft": "from peft import PeftModel\n\n"
    'model = PeftModel.from_pretrained(model, "{name}")  # model: {base}',
    "parts": "from transformers import AutoModelForCausalLM, AutoTokenizer\n\n"
    'llm = AutoModelForCausalLM.from_pretrained("{name}/llm")\n'
    'tokenizer = AutoTokenizer.from_pretrained("{name}/llm")',
}

FEWER = {
    "int8": "The LLM's Linear layers have 8 bits, a scale a row; opening it wants torchao.",
    "int4": "The LLM's Linear layers have 4 bits, a scale for each 32; opening it wants "
    "compressed-tensors (with quantization_config=CompressedTensorsConfig(dequantize=True) where a "
    "LoRA is put on it).",
}


def add(parser: argparse.ArgumentParser, argv: list[str]) -> None:
    """Describe the options."""
    parser.epilog = EPILOG
    parser.add_argument("model", type=Path, help="an experiment, one phase, or a model folder")
    parser.add_argument("--to", choices=tuple(LOAD), required=True, help="the form")
    parser.add_argument("--out", type=Path, required=True, help="folder to be written")
    parser.add_argument(
        "--like", default="", metavar="MODEL", help="the published model that it was imported from"
    )
    parser.add_argument("--merge", action="store_true", help="add LoRA into the weights")
    parser.add_argument(
        "--quantize", default="", choices=("int8", "int4"), help="the LLM's layers in fewer bits"
    )
    parser.add_argument("--measure", type=Path, metavar="MANIFEST", help="scored before and after")
    parser.add_argument("--push", default="", metavar="OWNER/NAME", help="send it to the Hub")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    """Export, write the card, perhaps send it, and say what was done."""
    from tqdm import tqdm

    from speechllm.models import export

    if args.out.exists():
        raise ValueError(f"{args.out} exists; choose another --out or remove it")
    _check(args)
    if args.to == "transformers":
        with tqdm(unit="B", unit_scale=True, disable=None) as bar:

            def progress(done: int, total: int) -> None:
                bar.total = total
                bar.update(done - bar.n if done > bar.n else 0)

            done = export.to_transformers(
                args.model, args.out, args.like, args.merge, progress, args.quantize
            )
    elif args.to == "peft":
        done = export.to_peft(args.model, args.out, args.like)
    else:
        done = export.to_parts(args.model, args.out, args.merge, args.quantize)
    from speechllm import files
    from speechllm.cli import measured

    if args.to == "parts":
        print(_script(args, done.beside))
    lines = {}
    if args.measure:
        lines = measured.before_and_after(args.model, args.out, args.measure, done.like)
    files.write_text(args.out / "README.md", _card(args, done, lines))
    for name, line in lines.items():
        print(f"{name}: {line}")
    print(_told(args, done))
    if args.push:
        print(f"sent to {push(args.out, args.push)}")


def _script(args: argparse.Namespace, beside: tuple[str, ...]) -> str:
    """Write the script beside parts, and say so; or why there is none."""
    from speechllm.cli import standalone
    from speechllm.models import store

    system = store.system_of(store.find(args.model))
    why = "its LoRA is not merged (--merge)" if beside else standalone.why(system)
    if why:
        return f"no script that runs without speechllm: {why}"
    standalone.write(system, args.out)
    return f"{args.out / standalone.NAME}: transcribes with these parts, without speechllm"


def _check(args: argparse.Namespace) -> None:
    """Refuse what does not go together.

    Raises:
        ValueError: says what does.
    """
    from speechllm.models import quantised

    if args.measure and not args.quantize:
        raise ValueError("--measure compares before and after --quantize; give that, too")
    if args.quantize:
        if args.to == "peft" or not args.merge:
            raise ValueError(
                f"--quantize {args.quantize} wants --merge and --to parts or transformers: the LLM "
                "that it writes has its LoRA within"
            )
        quantised.check(args.quantize)


def _told(args: argparse.Namespace, done) -> str:
    what = f"a {done.family}" if done.family else "LLM and encoder"
    lora = [f"LoRA {name} merged" for name in done.merged]
    lora += [f"LoRA {name} beside" for name in done.beside]
    return f"{args.out}: {', '.join([what, f'{done.n_tensors} tensors', *lora])}"


def _card(args: argparse.Namespace, done, lines: dict[str, str]) -> str:
    from speechllm.models import store
    from speechllm.report import card, collect

    system = store.system_of(store.find(args.model))
    tables = system.preset.tables
    parts = {
        noun: (table.get("pretrained") or done.like, _licence(table.get("pretrained") or done.like))
        for noun in ("encoder", "adapter", "llm")
        if (table := tables.get(noun)) is not None
    }
    lora = [f"LoRA {name} is merged into the weights." for name in done.merged]
    lora += [f"LoRA {name} stands beside them, for peft." for name in done.beside]
    quantised = card.Quantised(args.quantize, done.sizes, lines) if done.sizes else None
    lora += [FEWER[args.quantize]] if quantised else []
    how = f"A speech LLM of the system `{system.preset.name}`, trained with speechllm. "
    kind = "ForCausalLM" if done.family == "phi4_multimodal" else "ForMultimodalLM"
    use = LOAD[args.to].format(name=args.out.name, base=done.like, kind=kind)
    return card.text(
        card.Card(
            name=args.out.name,
            preset=system.preset.name,
            parts=parts,
            how=(how + " ".join(lora)).strip(),
            use=use,
            base=done.like,
            experiment=collect.read(args.model),
            quantised=quantised,
        )
    )


def _licence(source: str) -> str:
    """Read the licence that a checkpoint's own card says, where it is at hand."""
    page = Path(source or "?") / "README.md"
    if not page.is_file():
        return "as its page on the Hub says" if source and not Path(source).exists() else ""
    head = page.read_text("utf-8", errors="replace").split("\n---", 1)[0]
    said = [line.split(":", 1)[1].strip() for line in head.split("\n") if line[:8] == "license:"]
    return said[0] if said else ""


def push(folder: Path, name: str) -> str:
    """Send a folder to a private repository of the Hub; gives its address.

    Raises:
        ValueError: the Hub refuses it, or cannot be reached.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError

    try:
        api = HfApi()
        address = api.create_repo(name, private=True, exist_ok=True)
        api.upload_folder(repo_id=name, folder_path=folder, commit_message="speechllm export")
    except (HfHubHTTPError, OSError) as error:
        words = " ".join(str(error).split())[:300]
        raise ValueError(f"--push {name}: the Hub did not take it: {words}") from None
    return str(address)
