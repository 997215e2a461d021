#!/usr/bin/env bash
# How2Sign: American Sign Language into English, from keypoints (and video), with the sentence before.
#
#   run.sh --corpus DIR [--preset signllava] [--video true] [--context 1] [--out DIR]
#          [--train-options "--set ..."] [--num-beams 4]
#
# DIR holds sentence_level/{train,val,test}/{rgb_front,text} (how2sign.github.io, by hand: it asks for a
# form). Nobody has run this recipe yet.
# Stages: 0 look for the corpus, 1 manifests, 3 up to the adapters, 4 the rest, 5 decode, 6 score.

set -euo pipefail
. "$(dirname "$0")/../../options.sh"
corpus=
preset=signllava
until=align
video=true
context=1
metric=bleu,chrf
num_beams=4
out=exp/how2sign
options "$@"
data=$out/data
video_options=
[ "$video" != true ] || video_options=--video
train() {
  speechllm train "$preset" --out "$out" --data train="$data/train.jsonl" --data valid="$data/val.jsonl" \
    $train_options "$@"
}
if begin 0 "look for the corpus"; then
  [ -d "$corpus/sentence_level" ] || die "no sentence_level in --corpus '$corpus'"
fi
if begin 1 "manifests"; then
  speechllm data prepare how2sign --corpus "$corpus" --out "$data" --context "$context" $video_options \
    --on-error skip
  for split in train val test; do speechllm data validate "$data/$split.jsonl"; done
fi
published "How2Sign" test
