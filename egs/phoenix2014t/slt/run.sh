#!/usr/bin/env bash
# PHOENIX-2014 T: German Sign Language into German, from poses that were estimated beforehand.
#
#   run.sh --corpus DIR --poses DIR [--preset signllava] [--out DIR] [--train-options "--set ..."]
#          [--num-beams 4]
#
# DIR holds annotations/manual and features/fullFrame-210x260px (www-i6.informatik.rwth-aachen.de, by
# hand); --poses holds {train,dev,test}/<name>.pose, by pose-format's videos_to_poses. Without the stream
# of frames of signllava. Nobody has run this recipe yet.
# Stages: 0 look for the corpus, 1 manifests, 3 up to the adapter, 4 the rest, 5 decode, 6 score.

set -euo pipefail
. "$(dirname "$0")/../../options.sh"
corpus=
poses=
preset=signllava
until=align
metric=bleu,chrf
num_beams=4
out=exp/phoenix2014t
options "$@"
data=$out/data
train() {
  speechllm train "$preset" --out "$out" --data train="$data/train.jsonl" --data valid="$data/dev.jsonl" \
    $train_options "$@"
}
if begin 0 "look for the corpus"; then
  [ -d "$corpus/annotations" ] || die "no annotations in --corpus '$corpus'"
fi
if begin 1 "manifests"; then
  speechllm data prepare phoenix2014t --corpus "$corpus" --poses "$poses" --out "$data" --on-error skip
  for split in train dev test; do speechllm data validate "$data/$split.jsonl"; done
fi
published "PHOENIX-2014 T" test
