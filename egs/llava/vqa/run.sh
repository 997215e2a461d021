#!/usr/bin/env bash
# LLaVA: a picture's projector is aligned on captions, then all learns from instructions.
#
#   run.sh --corpus FILE --images DIR --captions FILE [--preset llava15] [--out DIR]
#          [--train-options "--set ..."]
#
# FILE is llava_v1_5_mix665k.json, --captions blip_laion_cc_sbu_558k.json (huggingface.co/liuhaotian), DIR
# the pictures that both name. Held-out conversations stand for the test. Nobody has run this recipe yet.
# Stages: 0 look for the corpus, 1 manifests, 3 align on captions, 4 tune, 5 decode, 6 score.

set -euo pipefail
. "$(dirname "$0")/../../options.sh"
corpus=
images=
captions=
preset=llava15
until=align
metric=rouge_l,bleu
out=exp/llava
options "$@"
data=$out/data
if begin 0 "look for the corpus"; then
  [[ -f $corpus && -f $captions ]] || die "no files --corpus '$corpus' and --captions '$captions'"
fi
if begin 1 "manifests"; then
  speechllm data prepare llava --corpus "$captions" --images "$images" --out "$data/captions" --on-error skip
  speechllm data prepare llava --corpus "$corpus" --images "$images" --out "$data/instructions" \
    --on-error skip
fi
if begin 3 "align on captions"; then
  speechllm train "$preset" --out "$out" --until "$until" --data train="$data/captions/train.jsonl" \
    --data valid="$data/captions/dev.jsonl" $train_options
fi
if begin 4 "tune on instructions"; then
  speechllm train "$preset" --out "$out" --data train="$data/instructions/train.jsonl" \
    --data valid="$data/instructions/dev.jsonl" $train_options
fi
if begin 5 "decode"; then speechllm decode "$out" "$data/instructions/dev.jsonl"; fi
if begin 6 "score and report"; then
  speechllm score "$out/decode_dev" --metric "$metric" --manifest "$data/instructions/dev.jsonl"
  results "LLaVA" "$out"
fi
