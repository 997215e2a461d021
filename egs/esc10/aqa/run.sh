#!/usr/bin/env bash
# Environmental sounds (ESC-10) from nothing: which of ten, and questions about one or two of them.
#
#   run.sh --corpus DIR [--folds "1 2 3 4 5"] [--spoken true] [--out DIR] [--stage N] [--stop-stage M]
#
# DIR holds esc10.csv (or ESC-50's meta/esc50.csv) and audio/. Each published fold is the test once,
# the fold after it is dev, and nothing is chosen on a test fold. Questions of the test have forms of
# words that training never had. All is decoded three times, with the sounds as they are, shuffled,
# and silenced: so much comes from listening. --spoken true: some questions are speech as well.
# Stages: 0 look for the corpus, 1 manifests, 2 tokenizer, 3 the LLM reads questions, 4 train on
# each fold, 5 decode, 6 score and report.

# shellcheck disable=SC2086  # several words of options are wanted
set -euo pipefail
corpus=
out=exp/esc10
preset=esc10
seed=0
folds="1 2 3 4 5"
spoken=false
train_options=
report=
here=$(cd "$(dirname "$0")" && pwd)
. "$here/../../options.sh"
data=$out/data
sets="test questions_test"
ways="real shuffled silent"
if [ "$spoken" = true ]; then preset=esc10_spoken; sets+=" spoken_test"; fi
train() {  # train FOLD NAME [OPTION...]
  speechllm train "$preset" --tokenizer "$data/tokenizer" --out "$out/$2" --set seed="$seed" \
    --data text="$data/text.jsonl" --data text_valid="$data/text_dev.jsonl" \
    --data train="$data/fold$1/train.jsonl" --data valid="$data/fold$1/dev.jsonl" \
    --data questions="$data/fold$1/questions_train.jsonl" \
    --data questions_valid="$data/fold$1/questions_dev.jsonl" \
    --device cpu --workers 0 $train_options "${@:3}"
}
if begin 0 "look for the corpus"; then
  [ -d "$corpus/audio" ] || die "--corpus DIR must hold audio/; got '$corpus'"
fi
if begin 1 "manifests"; then
  speechllm data prepare esc10 --corpus "$corpus" --out "$data" --folds $folds --seed "$seed"
fi
if begin 2 "tokenizer"; then
  speechllm data tokenizer "$data/text.jsonl" --vocab-size 300 --out "$data/tokenizer"
fi
if begin 3 "the LLM reads questions"; then train "${folds%% *}" text --until text; fi
if begin 4 "train on each fold"; then
  for k in $folds; do  # the stage of text is the same for all
    [ -d "$out/fold$k" ] || cp -r "$out/text" "$out/fold$k"
    train "$k" "fold$k"
  done
fi
if begin 5 "decode"; then
  for k in $folds; do
    for s in $sets; do speechllm decode "$out/fold$k" "$data/fold$k/$s.jsonl" --audio $ways; done
  done
fi
if begin 6 "score and report"; then
  for d in $sets; do for w in "" _shuffled _silent; do
    mkdir -p "$out/all/decode_$d$w"
    for k in $folds; do cat "$out/fold$k/decode_$d$w/hyp.jsonl"; done > "$out/all/decode_$d$w/hyp.jsonl"
    for e in all $folds; do
      speechllm score "$out/${e/#[0-9]/fold$e}/decode_$d$w" --metric accuracy,macro_f1 --normaliser basic
    done
  done; done
  read -ra numbers <<< "$folds"
  speechllm report "${numbers[@]/#/$out/fold}" "$out/all" --title "ESC-10: sounds and questions" \
    --out "${report:-$out/RESULTS.md}" --page "$out/report.html"
fi
