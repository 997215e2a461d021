#!/usr/bin/env bash
# CoVoST 2: a preset of pretrained parts learns to translate speech, directly or after a transcript.
#
#   run.sh --corpus DIR --source de --target en [--way direct|chain] [--preset slam_asr_whisper]
#          [--tables DIR] [--metric bleu:zh,chrf] [--train-options "--set ..."] [--num-beams 4] [--out DIR]
#
# DIR is a Common Voice 4 language folder (clips/, validated.tsv; commonvoice.mozilla.org); in it, or in
# --tables, lies covost_v2.de_en.tsv (github.com/facebookresearch/covost). Both are fetched by hand:
# Common Voice asks for an e-mail address. Nobody has run this recipe yet.
# Stages: 0 look for the corpus, 1 manifests, 3 up to the adapter, 4 the rest, 5 decode, 6 score.

set -euo pipefail
. "$(dirname "$0")/../../options.sh"
corpus=
tables=
source=
target=
way=direct
preset=slam_asr_whisper
until=adapter
metric=bleu,chrf
num_beams=4
out=
options "$@"
[ -n "$source" ] || die "--source is needed, as de"
[ -n "$target" ] || die "--target is needed, as en"
out=${out:-exp/covost2_${source}_${target}_$way}
data=$out/data
train() {
  speechllm train "$preset" --out "$out" --data train="$data/train.jsonl" --data valid="$data/dev.jsonl" \
    --set "task={name='translate', way='$way', source='$source', target='$target'}" $train_options "$@"
}
if begin 0 "look for the corpus"; then
  [ -d "$corpus/clips" ] || die "--corpus: no clips/ in '$corpus'"
fi
if begin 1 "manifests"; then
  speechllm data prepare covost2 --corpus "$corpus" --tables "$tables" --source "$source" \
    --target "$target" --out "$data" --on-error skip
  for split in train dev test; do speechllm data validate "$data/$split.jsonl"; done
fi
published "CoVoST 2 $source-$target" test --max-tokens-per-s 50
