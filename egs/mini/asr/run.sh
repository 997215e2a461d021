#!/usr/bin/env bash
# The embedded default: a speech LLM trained from nothing, in about ten minutes on two cores.
#
#   run.sh [--out DIR] [--stage N] [--stop-stage M] [--preset mini] [--hours 1.6] [--seed 0]
#
# espeak-ng speaks sentences of a small grammar in many voices; the voices and the sentences of the
# test never occur in training. Stages: 0 speak, 1 check the manifests, 2 tokenizer, 3 train up to
# the adapter, 4 adapter and LoRA, 5 decode, 6 score and report. Each can be stopped and started
# again. Any setting of the preset: --train-options "--set phase.encoder.steps=100".
#
# One run is a draw. Mean and deviation of three, each with a --seed and an --out of its own:
#   speechllm report exp/mini0 exp/mini1 exp/mini2 --seeds

set -euo pipefail
. "$(dirname "$0")/../../options.sh"
out=exp/mini
preset=mini
hours=1.6
seed=0
vocab_size=160
num_processes=2
options "$@"
data=$out/data
train() {
  speechllm train "$preset" --tokenizer "$data/tokenizer" --out "$out" --set seed="$seed" \
    --data train="$data/train.jsonl" --data valid="$data/dev.jsonl" --data text="$data/text.jsonl" \
    --data text_valid="$data/dev.jsonl" --device cpu --workers 0 \
    --num-processes "$num_processes" $train_options "$@"
}
if begin 0 "speak the corpus"; then
  speechllm data prepare mini --out "$data" --hours "$hours" --seed "$seed"
fi
if begin 1 "check the manifests"; then
  for split in train dev test text; do speechllm data validate "$data/$split.jsonl"; done
fi
if begin 2 "train the tokenizer"; then
  speechllm data tokenizer "$data/text.jsonl" --vocab-size "$vocab_size" --out "$data/tokenizer"
fi
if begin 3 "train encoder, LLM and adapter"; then train --until align; fi
if begin 4 "tune adapter and LoRA"; then train; fi
if begin 5 "decode the test set"; then
  speechllm decode "$out" "$data/test.jsonl"
fi
if begin 6 "score and report"; then
  speechllm score "$out/decode_test" --normaliser basic --manifest "$data/test.jsonl"
  results "mini" "$out"
  echo "report: $out/report.html"
fi
