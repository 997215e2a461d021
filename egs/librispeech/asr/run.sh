#!/usr/bin/env bash
# LibriSpeech: from scratch, or with a preset of pretrained parts; mini (5 h), 100 h or 960 h.
#
#   run.sh --corpus DIR [--size mini|100h|960h] [--preset librispeech_small] [--test "dev-clean ..."]
#          [--download yes] [--tokenizer DIR] [--train-options "--set ..."] [--num-beams 4]
#
# DIR is the tree that holds dev-clean/ and so on (.flac, .opus, .ogg or .wav). A preset such as
# slam_asr_wavlm brings its own tokenizer: give --tokenizer pretrained. Stages: 0 download if asked,
# 1 manifests (every 20th training utterance is held out for validation), 2 tokenizer, 3 train up to
# the adapter, 4 the rest, 5 decode, 6 score and report.
set -euo pipefail

corpus=
size=mini
preset=librispeech_small
out=
download=no
test=dev-clean
tokenizer=
until=align
seed=0
num_beams=1
train_options=
report=
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=egs/options.sh
. "$here/../../options.sh"
case $size in
  mini) train="train-clean-5" ;;
  100h) train="train-clean-100" ;;
  960h) train="train-clean-100 train-clean-360 train-other-500" ;;
  *) die "--size: wanted mini, 100h or 960h, got '$size'" ;;
esac
out=${out:-exp/librispeech_$size}
data=$out/data
[ -n "$tokenizer" ] || tokenizer=$data/tokenizer
[ "$tokenizer" != pretrained ] || tokenizer=

train() {
  # shellcheck disable=SC2086  # several words are wanted
  speechllm train "$preset" ${tokenizer:+--tokenizer "$tokenizer"} --out "$out/model" --set seed="$seed" \
    --data train="$data/train.jsonl" --data valid="$data/valid.jsonl" $train_options "$@"
}
[ -n "$corpus" ] || die "--corpus DIR is needed"
# shellcheck disable=SC2086
if begin 0 "corpus" && [ "$download" = yes ]; then
  speechllm data prepare librispeech --corpus "$corpus" --out "$data" --download --splits $train $test
fi
# shellcheck disable=SC2086
if begin 1 "manifests"; then
  speechllm data prepare librispeech --corpus "$corpus" --out "$data" --splits $train $test
  for s in $train; do cat "$data/$s.jsonl"; done | awk -v d="$data" '{ print > (d (NR % 20 ? "/train" : "/valid") ".jsonl") }'
fi
if begin 2 "tokenizer" && [ "$tokenizer" = "$data/tokenizer" ]; then
  speechllm data tokenizer "$data/train.jsonl" --vocab-size 32 --out "$tokenizer"
fi
if begin 3 "train up to the adapter"; then train --until "$until"; fi
if begin 4 "train the later stages"; then train; fi
if begin 5 "decode"; then
  for t in $test; do speechllm decode "$out/model" "$data/$t.jsonl" --num-beams "$num_beams"; done
fi
if begin 6 "score and report"; then
  for t in $test; do speechllm score "$out/model/decode_$t" --manifest "$data/$t.jsonl"; done
  speechllm report "$out/model" --title "LibriSpeech $size" --out "${report:-$out/RESULTS.md}" --page "$out/report.html"
fi
