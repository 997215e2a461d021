#!/usr/bin/env bash
# A spoken digit (FSDD) and a written one (MNIST) in one prompt, from nothing: is it the same digit?
#
#   run.sh --spoken DIR --written DIR [--out DIR] [--seed N] [--stage N] [--stop-stage M]
#
# The test has recordings, pictures and a form of words that training never had. All is decoded with
# both media as they are, shuffled, and silent and blank: so much comes from them. Stages: 0 look,
# 1 manifests, 2 tokenizer, 3 the LLM reads questions, 4 it hears, sees and compares, 5 decode,
# 6 score and report.

set -euo pipefail
. "$(dirname "$0")/../options.sh"
spoken=
written=
out=exp/fsdd_mnist
preset=fsdd_mnist
seed=0
options "$@"
data=$out/data
train() {  # train [OPTION...]
  speechllm train "$preset" --tokenizer "$data/tokenizer" --out "$out/run" --set seed="$seed" \
    --device cpu --workers 0 --data text="$data/text.jsonl" --data text_valid="$data/text_dev.jsonl" \
    --data spoken="$data/spoken_train.jsonl" --data spoken_valid="$data/spoken_dev.jsonl" \
    --data written="$data/written_train.jsonl" --data written_valid="$data/written_dev.jsonl" \
    --data pairs="$data/pairs_train.jsonl" --data pairs_valid="$data/pairs_dev.jsonl" \
    --data matched="$data/matched_train.jsonl" --data matched_valid="$data/matched_test.jsonl" \
    $train_options "$@"
}
if begin 0 "look for the corpora"; then
  [ -d "$spoken" ] || die "no folder --spoken '$spoken'"
  ls "$written"/t10k-images-idx3-ubyte* >/dev/null || die "no t10k-images-idx3-ubyte in '$written'"
fi
if begin 1 "manifests"; then
  speechllm data prepare fsdd_mnist --spoken "$spoken" --written "$written" --out "$data" --seed "$seed"
fi
from_nothing "Spoken and written digits" "$out/run" "$data"/{pairs,spoken,written}_test.jsonl
