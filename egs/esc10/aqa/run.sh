#!/usr/bin/env bash
# Environmental sounds (ESC-10) from nothing: which of ten, and questions about one or two of them.
#
#   run.sh --corpus DIR [--folds "1 2 3 4 5"] [--spoken true] [--out DIR] [--stage N] [--stop-stage M]
#
# DIR holds esc10.csv (or ESC-50's meta/esc50.csv) and audio/. Each published fold is the test once,
# the fold after it is dev, on which all was chosen (--learn train leaves it out of training), and no
# test fold chooses anything. Questions of the test have forms of words that training never had. All
# is decoded with the sounds as they are, shuffled and silenced: so much comes from listening.
# --spoken true: other models, fold<k>_spoken, also understand questions that are speech. Stages: 0
# look, 1 manifests, 2 tokenizer, 3 the LLM reads, 4 train each fold, 5 decode, 6 score and report.

# shellcheck disable=SC2086,SC2046  # several words are wanted
set -euo pipefail
corpus='' report=''
out=exp/esc10 preset=esc10 seed=0
folds="1 2 3 4 5"
spoken=false learn="train dev" train_options=
here=$(cd "$(dirname "$0")" && pwd)
. "$here/../../options.sh"
data=$out/data
also=--no-spoken as='' more='' sounds=$learn questions=$(printf 'questions_%s ' $learn) sets="test questions_test"
if [ "$spoken" != false ]; then
  also=--spoken as=_spoken sounds+=" words_train" questions+=" spoken_train" sets+=" spoken_test"
  more="--set stage.encoder.steps=1200 --set stage.tune.steps=300"  # for thrice as many recordings
fi
train() {  # train FOLD NAME [OPTION...]
  speechllm train "$preset" --tokenizer "$data/tokenizer" --out "$out/$2" --set seed="$seed" \
    --data text="$data/text.jsonl" --data text_valid="$data/text_dev.jsonl" --device cpu --workers 0 \
    --data train="$data/fold$1/learn$as.jsonl" --data questions="$data/fold$1/learn_questions$as.jsonl" \
    --data valid="$data/fold$1/dev.jsonl" --data questions_valid="$data/fold$1/questions_dev.jsonl" \
    $more $train_options "${@:3}"
}
if begin 0 "look for the corpus"; then [ -d "$corpus/audio" ] || die "no audio/ in --corpus '$corpus'"; fi
if begin 1 "manifests"; then
  speechllm data prepare esc10 --corpus "$corpus" --out "$data" --folds $folds --seed "$seed" $also
  for k in $folds; do
    speechllm data join $(printf "$data/fold$k/%s.jsonl " $sounds) --out "$data/fold$k/learn$as.jsonl"
    speechllm data join $(printf "$data/fold$k/%s.jsonl " $questions) --out "$data/fold$k/learn_questions$as.jsonl"
  done
fi
if begin 2 "tokenizer"; then speechllm data tokenizer "$data/text.jsonl" --vocab-size 300 --out "$data/tokenizer"; fi
if begin 3 "the LLM reads questions"; then train "${folds%% *}" text --until text; fi
if begin 4 "train on each fold"; then
  for k in $folds; do [ -d "$out/fold$k$as" ] || cp -r "$out/text" "$out/fold$k$as"; train "$k" "fold$k$as"; done
fi
if begin 5 "decode"; then for k in $folds; do
  speechllm decode "$out/fold$k$as" $(printf "$data/fold$k/%s.jsonl " $sets) --audio real shuffled silent
done; fi
if begin 6 "score and report"; then
  for s in $sets; do for d in decode_$s decode_${s}_shuffled decode_${s}_silent; do
    mkdir -p "$out/all$as/$d"
    cat $(printf "$out/fold%s$as/$d/hyp.jsonl " $folds) > "$out/all$as/$d/hyp.jsonl"
    for e in $(printf "fold%s$as " $folds) all$as; do
      speechllm score "$out/$e/$d" --metric accuracy,macro_f1 --normaliser basic
    done
  done; done
  speechllm report "$out"/fold*/ "$out"/all*/ --title "ESC-10" \
    --out "${report:-$out/RESULTS.md}" --page "$out/report.html"
fi
