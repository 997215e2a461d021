#!/usr/bin/env bash
# Questions about scenes of real handwritten digits (MNIST), from nothing: which, where, how many,
# the largest, left of, sum, and true or false of two pictures.
#
#   run.sh --corpus DIR [--out DIR] [--contrast yes] [--seed N] [--stage N] [--stop-stage M]
#
# DIR holds MNIST's t10k files. The test has digits, layouts and forms of words that training never
# had. All is decoded with the pictures as they are, shuffled and blank: so much comes from looking.
# With --contrast yes the encoder also learns beside names of digits, by CLIP's loss and by SigLIP's, in
# runs of their own; their `zero_shot` (in RESULTS.md, validation) is of digits that they never saw.
# Stages: 0 look, 1 scenes and manifests, 2 tokenizer, 3 the LLM reads questions, 4 it sees, 5 decode,
# 6 score and report.

set -euo pipefail
. "$(dirname "$0")/../../options.sh"
corpus=
out=exp/mnist_vqa
preset=mnist_vqa
contrast=no
seed=0
options "$@"
data=$out/data
train() {  # train [OPTION...]
  speechllm train "$preset" --tokenizer "$data/tokenizer" --out "$out/run" --set seed="$seed" \
    --device cpu --workers 0 --data lists="$data/lists.jsonl" --data lists_valid="$data/lists_dev.jsonl" \
    --data text="$data/text.jsonl" --data text_valid="$data/text_dev.jsonl" --data talks="$data/talks.jsonl" \
    --data cells="$data/cells_train.jsonl" --data cells_valid="$data/cells_dev.jsonl" \
    --data captions="$data/captions_train.jsonl" --data captions_valid="$data/captions_dev.jsonl" \
    --data questions="$data/questions_train.jsonl" \
    --data questions_valid="$data/questions_dev.jsonl" $train_options "$@"
}
if begin 0 "look for the corpus"; then
  ls "$corpus"/t10k-images-idx3-ubyte* >/dev/null || die "no t10k-images-idx3-ubyte in --corpus '$corpus'"
fi
if begin 1 "scenes and manifests"; then
  speechllm data prepare mnist_vqa --corpus "$corpus" --out "$data" --seed "$seed"
fi
if begin 2 "tokenizer"; then
  speechllm data tokenizer "$data/text.jsonl" --vocab-size 300 --out "$data/tokenizer"
fi
if begin 3 "the LLM reads questions"; then
  train --until text
fi
if begin 4 "it sees"; then
  train
  [ "$contrast" != yes ] || for loss in clip siglip; do
    speechllm train mnist_clip --tokenizer "$data/tokenizer" --out "$out/$loss" --set seed="$seed" \
      --set phase.contrast.objectives.contrastive.loss="$loss" --device cpu --workers 0 \
      --data train="$data/digits_train.jsonl" --data valid="$data/digits_test.jsonl"
  done
fi
if begin 5 "decode"; then
  speechllm decode "$out/run" "$data/questions_test.jsonl" "$data/captions_test.jsonl" \
    --media real shuffled silent
fi
if begin 6 "score and report"; then
  for d in "$out"/run/decode_*; do
    speechllm score "$d" --metric accuracy --normaliser basic
  done
  runs=("$out/run")
  [ "$contrast" != yes ] || runs+=("$out/clip" "$out/siglip")
  results "Scenes of MNIST digits" "${runs[@]}"
fi
