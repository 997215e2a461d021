#!/usr/bin/env bash
# Real spoken digits (Free Spoken Digit Dataset): isolated, as strings, and with the speaker left out.
#
#   run.sh --corpus DIR [--splits "official loso_george ..."] [--out DIR] [--stage N] [--stop-stage M]
#
# DIR holds recordings/*.wav (git clone https://github.com/Jakobovski/free-spoken-digit-dataset).
# Split `official`: takes 0 to 4 are the test; `loso_NAME`: everything of that speaker is the test.
# Stages: 0 look for the corpus, 1 manifests, 2 tokenizer, 3 train up to the adapter, 4 adapter and
# LoRA, 5 decode, 6 score and report.

set -euo pipefail
. "$(dirname "$0")/../../options.sh"
corpus=
out=exp/fsdd
preset=fsdd
seed=0
splits="official loso_george loso_jackson loso_lucas loso_nicolas loso_theo loso_yweweler"
num_processes=2
options "$@"
data=$out/data
train() {
  speechllm train "$preset" --tokenizer "$data/tokenizer" --out "$out/$1" --set seed="$seed" \
    --data train="$data/$1/both.jsonl" --data valid="$data/$1/dev_both.jsonl" --device cpu --workers 0 \
    --num-processes "$num_processes" $train_options "${@:2}"
}
if begin 0 "look for the corpus"; then
  [ -d "$corpus/recordings" ] || die "--corpus DIR must hold recordings/; got '$corpus'"
fi
if begin 1 "manifests"; then
  speechllm data prepare fsdd --corpus "$corpus" --out "$data" --n-dev 3 --seed "$seed"
  for s in $splits; do
    speechllm data join "$data/$s/"{,strings_}train.jsonl --out "$data/$s/both.jsonl"
    speechllm data join "$data/$s/"{,strings_}dev.jsonl --out "$data/$s/dev_both.jsonl"
  done
fi
if begin 2 "tokenizer"; then
  speechllm data tokenizer "$data"/*/both.jsonl --vocab-size 60 --out "$data/tokenizer"
fi
if begin 3 "train encoder, LLM and adapter"; then
  for s in $splits; do train "$s" --until align; done
fi
if begin 4 "tune adapter and LoRA"; then
  for s in $splits; do train "$s"; done
fi
if begin 5 "decode"; then
  for s in $splits; do
    for t in test strings_test; do speechllm decode "$out/$s" "$data/$s/$t.jsonl"; done
  done
fi
if begin 6 "score and report"; then
  for s in $splits; do
    speechllm score "$out/$s/decode_test" --metric accuracy --manifest "$data/$s/test.jsonl"
    speechllm score "$out/$s/decode_strings_test" --normaliser basic --manifest "$data/$s/strings_test.jsonl"
  done
  if [[ $splits == *loso* ]]; then
    cat "$out"/loso_*/decode_test/hyp.jsonl > "$out/loso.jsonl"
    speechllm score "$out/loso.jsonl" --metric accuracy --out "$out/loso_mean/score_accuracy"
    splits+=" loso_mean"
  fi
  read -ra folders <<< "$splits"
  results "Free Spoken Digit Dataset" "${folders[@]/#/$out/}"
fi
