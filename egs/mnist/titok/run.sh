#!/usr/bin/env bash
# Pictures as discrete tokens (TiTok) and new ones of what is named (MaskGIT), on real handwritten
# digits, from nothing.
#
#   run.sh --corpus DIR [--out DIR] [--seed N] [--stage N] [--stop-stage M]
#
# DIR holds MNIST's t10k files. Of pictures that training never had are shown the error once they went
# through their tokens, the use of the codebook, and OUT/run/draw_test/pictures.png. A network that
# names digits reads the real ones, those drawn again and the new ones: are they what they should be?
# Stages: 0 look, 1 manifests, 2 tokenizer, 3 tokens, and the network that names, 4 writing, 5 draw and
# read, 6 score and report.

set -euo pipefail
. "$(dirname "$0")/../../options.sh"
corpus=
out=exp/mnist_titok
seed=0
options "$@"
data=$out/data
train() {  # train PRESET OUT [OPTION...]
  speechllm train "$1" --tokenizer "$data/tokenizer" --out "$2" --set seed="$seed" --device cpu \
    --workers 0 --data train="$data/train.jsonl" --data valid="$data/dev.jsonl" $train_options "${@:3}"
}
if begin 0 "look for the corpus"; then
  ls "$corpus"/t10k-images-idx3-ubyte* >/dev/null || die "no t10k-images-idx3-ubyte in --corpus '$corpus'"
fi
if begin 1 "manifests"; then
  speechllm data prepare mnist --corpus "$corpus" --out "$data" --seed "$seed"
fi
if begin 2 "tokenizer"; then
  speechllm data tokenizer "$data/text.jsonl" --vocab-size 100 --out "$data/tokenizer"
fi
if begin 3 "tokens, and the network that names"; then
  train titok_mnist "$out/run" --until tokens
  train mnist "$out/reader" --data text="$data/text.jsonl" --data text_valid="$data/text_dev.jsonl"
fi
if begin 4 "writing"; then
  train titok_mnist "$out/run"
fi
if begin 5 "draw and read"; then
  speechllm draw "$out/run" "$data/test.jsonl" --seed "$seed" --device cpu
  speechllm decode "$out/reader" "$data/test.jsonl" "$out"/run/draw_test/{again,new}.jsonl --device cpu
fi
if begin 6 "score and report"; then
  for d in "$out"/reader/decode_*; do
    speechllm score "$d" --metric accuracy --normaliser basic
  done
  results "Digits as discrete tokens" "$out/run" "$out/reader"
fi
