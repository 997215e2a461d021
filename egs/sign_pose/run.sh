#!/usr/bin/env bash
# Signs of a lexicon as joints (.pose), from nothing: which signs follow each other? With and without
# a pretraining that fills hidden spans of joints: log.jsonl has the loss of naming signs, phase `see`.
#
#   run.sh --corpus DIR [--out DIR] [--pretrain yes|no] [--seed N] [--stage N] [--stop-stage M]
#
# DIR holds index.csv and the .pose files that it names (spoken-to-signed-translation's lexicon). A
# lexicon has each sign once: what is new in the test is the order of signs and where each is cut.
# Stages: 0 look, 1 manifests, 2 tokenizer, 3 the LLM reads questions, 4 pretraining and tuning,
# 5 decode, 6 score and report.

set -euo pipefail
. "$(dirname "$0")/../options.sh"
corpus=
out=exp/sign_pose
preset=sign_pose
pretrain=yes
seed=0
options "$@"
data=$out/data
reported="$out/*_[0-9]*"
run=$out/pretrained_$seed
if [ "$pretrain" = no ]; then
  run=$out/from_nothing_$seed
  train_options="--set phase.pretrain.steps=1 --set phase.pretrain.lr=1e-12 $train_options"
fi
train() {  # train [OPTION...]
  speechllm train "$preset" --tokenizer "$data/tokenizer" --out "$run" --set seed="$seed" \
    --device cpu --workers 0 --data text="$data/text.jsonl" --data text_valid="$data/text_dev.jsonl" \
    --data poses="$data/poses.jsonl" --data poses_valid="$data/poses_dev.jsonl" \
    --data few="$data/few.jsonl" \
    --data train="$data/train.jsonl" --data valid="$data/dev.jsonl" $train_options "$@"
}
if begin 0 "look for the corpus"; then
  [ -f "$corpus/index.csv" ] || die "no index.csv in --corpus '$corpus'"
fi
if begin 1 "manifests"; then
  speechllm data prepare sign_pose --corpus "$corpus" --out "$data"
fi
from_nothing "Signs of a lexicon" "$run" "$data/test.jsonl"
