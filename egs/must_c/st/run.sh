#!/usr/bin/env bash
# MuST-C: a preset of pretrained parts learns to translate TED talks, directly or after a transcript.
#
#   run.sh --corpus DIR --target de [--way direct|chain] [--preset slam_asr_whisper] [--out DIR]
#          [--test "tst-COMMON tst-HE"] [--train-options "--set ..."] [--num-beams 4]
#
# DIR holds en-de/data/{train,dev,tst-COMMON}/{wav,txt} (v1 to v3; mt.fbk.eu/must-c, by hand: it asks for
# a licence). Nobody has run this recipe yet.
# Stages: 0 look for the corpus, 1 manifests, 3 up to the adapter, 4 the rest, 5 decode, 6 score.

set -euo pipefail
. "$(dirname "$0")/../../options.sh"
corpus=
target=
way=direct
preset=slam_asr_whisper
until=adapter
test=tst-COMMON
metric=bleu,chrf
num_beams=4
out=
options "$@"
[ -n "$target" ] || die "--target is needed, as de"
out=${out:-exp/must_c_en_${target}_$way}
data=$out/data
train() {
  speechllm train "$preset" --out "$out" --data train="$data/train.jsonl" --data valid="$data/dev.jsonl" \
    --set "task={name='translate', way='$way', source='en', target='$target'}" $train_options "$@"
}
if begin 0 "look for the corpus"; then
  [ -d "$corpus" ] || die "--corpus: no folder '$corpus'"
fi
if begin 1 "manifests"; then
  speechllm data prepare must_c --corpus "$corpus" --target "$target" --out "$data" \
    --splits train dev $test --on-error skip
  for split in train dev $test; do speechllm data validate "$data/$split.jsonl"; done
fi
published "MuST-C en-$target" "$test" --max-tokens-per-s 50
