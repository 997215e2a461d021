"""`speechllm serve`: a model behind OpenAI's routes."""

import argparse
import sys
from pathlib import Path

from speechllm.cli.options import add_device, add_listener, add_windows, device, number
from speechllm.ranges import AboveZero, Count, Positive

EPILOG = """Routes, as OpenAI's clients call them:
  POST /v1/audio/transcriptions  /v1/audio/translations     json, text, srt, vtt,
                                                            verbose_json, stream
  POST /v1/chat/completions      input_audio and text, stream; for models of ours
  GET  /v1/models  /health  /metrics                        and / with --page

Requests share batches; what is asked beyond --max-requests is answered 429. Only this machine may
ask, unless --host says otherwise, which wants a token: every request then brings the header
`Authorization: Bearer TOKEN`. SIGTERM (or Ctrl-C) finishes what runs and takes nothing new.

examples:
  speechllm serve exp/mini
  speechllm serve openai/whisper-base --port 9000 --name whisper-1
  speechllm serve qwen2_audio --host 0.0.0.0 --token-file token.txt --allow-host asr.example.org
  curl http://127.0.0.1:8000/v1/audio/transcriptions -F model=mini -F file=@talk.mp3"""


def add(parser: argparse.ArgumentParser, argv: list[str]) -> None:
    """Describe the options."""
    parser.epilog = EPILOG
    add_listener(parser)
    parser.add_argument("--host", default="127.0.0.1", help="where to listen")
    parser.add_argument("--port", type=number(Count), default=8000, help="0: a free one")
    parser.add_argument("--page", action="store_true", help="a page for browsers at /")
    parser.add_argument("--name", default="", help="of the model, for clients; else its folder's")
    parser.add_argument(
        "--token-file", type=Path, help="file of the token that requests must bring"
    )
    parser.add_argument(
        "--allow-host", nargs="+", default=[], metavar="NAME", help="names of a proxy before it"
    )
    parser.add_argument(
        "--max-requests", type=number(Positive), default=64, help="that run or wait at one time"
    )
    parser.add_argument(
        "--max-mb", type=number(AboveZero), default=25.0, help="of one request, in MB"
    )
    parser.add_argument(
        "--max-duration-s", type=number(AboveZero), default=3600.0, help="of one sound file"
    )
    parser.add_argument(
        "--max-tokens", type=number(Positive), default=1000, help="of one chat answer, at most"
    )
    parser.add_argument(
        "--drain-s", type=number(Count), default=30, help="seconds for what runs, after SIGTERM"
    )
    add_windows(parser, "; see speechllm transcribe")
    add_device(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Serve until it is told to end."""
    try:
        from speechllm.serve import run as running
    except ModuleNotFoundError as error:
        raise ValueError(f"{error.name} is not installed: pip install 'speechllm[serve]'") from None
    from speechllm.decode.heap import flat_memory
    from speechllm.serve import backends
    from speechllm.serve.service import Service
    from speechllm.serve.settings import Settings, read_token

    settings = Settings(
        host=args.host,
        port=args.port,
        token=read_token(args.token_file) if args.token_file else "",
        name=args.name or Path(args.model).name,
        hosts=tuple(args.allow_host),
        max_bytes=round(args.max_mb * 1e6),
        max_duration_s=args.max_duration_s,
        max_requests=args.max_requests,
        max_batch_s=args.max_batch_s,
        max_tokens=args.max_tokens,
        drain_s=args.drain_s,
        vad=args.vad,
        page=args.page,
    )
    flat_memory(large_mb=1)
    service = Service(backends.load(args.model, device(args.device)), settings)
    door = running.listen(service)
    address = f"http://{args.host}:{door.getsockname()[1]}"
    page = f", a page at {address}/" if settings.page else ""
    print(f"{settings.name} at {address}/v1{page} (Ctrl-C ends it)", file=sys.stderr)
    running.serve(service, door)
    return 0
