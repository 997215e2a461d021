#!/usr/bin/env bash
# Environmental sounds (ESC-10): which of ten, and questions about one or two of them; from nothing, or
# with --preset esc10_whisper by Whisper's encoder and Gemma.
#
#   run.sh --corpus DIR [--folds "1 2 3 4 5"] [--spoken true] [--sets "test questions_test"] [--out DIR]
#          [--preset esc10_whisper] [--encoder DIR] [--llm DIR] [--stage N] [--stop-stage M]
#
# DIR holds esc10.csv (or ESC-50's meta/esc50.csv) and audio/. Each published fold is the test once,
# the fold after it is dev, on which all was chosen (--learn train leaves it out of training), and no
# test fold chooses anything. Questions of the test have forms of words that training never had. All
# is decoded with the sounds as they are, shuffled and silenced: so much comes from listening.
# --spoken true: other models, fold<k>_spoken, also understand questions that are speech. esc10_whisper
# is asked for one of the ten; --encoder and --llm say where its parts lie, if not on the Hub. Stages: 0
# look, 1 manifests, 2 tokenizer or states of the frozen encoder, 3 the LLM reads, 4 train each fold, 5
# decode, 6 score and report.

set -euo pipefail
. "$(dirname "$0")/../../options.sh"
corpus=
out=exp/esc10
preset=esc10
encoder=
llm=
seed=0
folds="1 2 3 4 5"
spoken=false
learn="train dev"
sets="test questions_test"
options "$@"
data=$out/data
sounds=$learn
questions=$(printf 'questions_%s ' $learn)
kind=
spoken_options=--no-spoken
tokenizer=(--tokenizer "$data/tokenizer")
stored=
closed=()
parts
if [ "$preset" = esc10_whisper ]; then
  tokenizer=()  # the LLM brings its own
  stored=.states
  # a large LLM may say other words: one of the ten it is
  closed=(--choices "dog,rooster,rain,waves,fire,baby,sneeze,clock,helicopter,chainsaw")
fi
if [ "$spoken" != false ]; then
  kind=_spoken
  spoken_options=--spoken
  sounds+=" words_train"
  questions+=" spoken_train"
  sets+=" spoken_test"
  # for thrice as many recordings
  train_options="--set phase.encoder.steps=1200 --set phase.tune.steps=300 $train_options"
fi
train() {  # train FOLD NAME [OPTION...]
  local learned=$data/fold$1
  speechllm train "$preset" "${tokenizer[@]}" "${PARTS[@]}" --out "$out/$2" --set seed="$seed" \
    --data text="$data/text.jsonl" --data text_valid="$data/text_dev.jsonl" --device cpu --workers 0 \
    --data train="$learned/learn$kind$stored.jsonl" --data valid="$learned/dev$stored.jsonl" \
    --data questions="$learned/learn_questions$kind.jsonl" \
    --data questions_valid="$learned/questions_dev.jsonl" $train_options "${@:3}"
}
join() {  # join FOLD NAME SET...
  speechllm data join $(printf "$data/fold$1/%s.jsonl " "${@:3}") --out "$data/fold$1/$2$kind.jsonl"
}
if begin 0 "look for the corpus"; then
  [ -d "$corpus/audio" ] || die "no audio/ in --corpus '$corpus'"
fi
if begin 1 "manifests"; then
  speechllm data prepare esc10 --corpus "$corpus" --out "$data" --folds $folds --seed "$seed" $spoken_options
  for k in $folds; do
    join "$k" learn $sounds
    join "$k" learn_questions $questions
  done
fi
if begin 2 "tokenizer, or states of a frozen encoder"; then
  if [ -z "$stored" ]; then
    speechllm data tokenizer "$data/text.jsonl" --vocab-size 300 --out "$data/tokenizer"
  else
    speechllm data states "$preset" $(printf "$data/fold%s/learn$kind.jsonl " $folds) \
      $(printf "$data/fold%s/dev.jsonl " $folds) "${PARTS[@]}" --out "$data/states" --beside states
  fi
fi
if begin 3 "the LLM reads questions"; then
  train "${folds%% *}" text --until text
fi
if begin 4 "train on each fold"; then
  for k in $folds; do
    [ -d "$out/fold$k$kind" ] || cp -r "$out/text" "$out/fold$k$kind"  # the LLM that reads
    train "$k" "fold$k$kind"
  done
fi
if begin 5 "decode"; then
  for k in $folds; do
    for s in $sets; do
      how=("${closed[@]}")
      [ "$s" = test ] || how=()
      speechllm decode "$out/fold$k$kind" "$data/fold$k/$s.jsonl" --audio real shuffled silent "${how[@]}"
    done
  done
fi
if begin 6 "score and report"; then
  for s in $sets; do
    for d in decode_$s decode_${s}_shuffled decode_${s}_silent; do
      mkdir -p "$out/all$kind/$d"
      cat $(printf "$out/fold%s$kind/$d/hyp.jsonl " $folds) > "$out/all$kind/$d/hyp.jsonl"
      for e in $(printf "fold%s$kind " $folds) all$kind; do
        speechllm score "$out/$e/$d" --metric accuracy,macro_f1 --normaliser basic
      done
    done
  done
  results "ESC-10" "$out"/fold*/ "$out"/all*/
fi
