#!/usr/bin/env bash
# Photographs of hands that sign digits, from nothing: which digit, and numbers of two or three
# photographs with the number before as context.
#
#   run.sh --corpus DIR [--out DIR] [--seed N] [--stage N] [--stop-stage M]
#
# DIR holds the folders 0 to 9. Signers are told apart by the order of the files, as far as it goes.
# All is decoded with the photographs as they are, shuffled and blank: so much comes from looking.
# Stages: 0 look, 1 manifests, 2 tokenizer, 3 the LLM reads questions, 4 it sees, 5 decode, 6 score
# and report.

set -euo pipefail
. "$(dirname "$0")/../options.sh"
corpus=
out=exp/sign_digits
preset=sign_digits
seed=0
options "$@"
data=$out/data
train() {  # train [OPTION...]
  speechllm train "$preset" --tokenizer "$data/tokenizer" --out "$out/run" --set seed="$seed" \
    --device cpu --workers 0 --data text="$data/text.jsonl" --data text_valid="$data/text_dev.jsonl" \
    --data train="$data/train.jsonl" --data valid="$data/dev.jsonl" \
    --data numbers="$data/numbers_train.jsonl" --data numbers_valid="$data/numbers_dev.jsonl" \
    $train_options "$@"
}
if begin 0 "look for the corpus"; then
  [ -d "$corpus/9" ] || die "no folders 0 to 9 in --corpus '$corpus'"
fi
if begin 1 "manifests"; then
  speechllm data prepare sign_digits --corpus "$corpus" --out "$data" --seed "$seed"
fi
from_nothing "Signs for digits" "$out/run" "$data"/{test,numbers_test}.jsonl
