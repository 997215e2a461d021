#!/usr/bin/env bash
# One model for recognition, translation and questions about sounds, from nothing on a CPU.
#
#   run.sh --corpus TABLE --sounds DIR [--fold 1] [--size full|tiny] [--out DIR] [--stage N]
#          [--stop-stage M] [--speech-alone EXP] [--sounds-alone EXP] [--train-options "--set ..."]
#
# TABLE: two columns of sentences, as for egs/tatoeba/st; DIR: ESC-10, as for egs/esc10/aqa. The model
# is asked each task after the adapter phase (align), after LoRA (tune) and after DPO (prefer), on
# pairs of its own wrong and of right answers: is it right, and does it answer what was asked?
# Those recipes' experiments to compare with: --speech-alone exp/tatoeba --sounds-alone exp/esc10/fold1.
# --size tiny goes through all of it and learns nothing. Stages: 0 look, 1 manifests, 2 tokenizer,
# 3 train up to the adapter, 4 LoRA, pairs, DPO, 5 decode, 6 score and report.

set -euo pipefail
. "$(dirname "$0")/../options.sh"
corpus=
sounds=
out=exp/multi
seed=0
fold=1
size=full
n_pairs=12000
hours=2.5
num_processes=2
speech_alone=
sounds_alone=
options "$@"
data=$out/data
esc10=esc10/fold$fold
speech_options="--n-pairs $n_pairs --hours $hours"
question_options=
nth=7  # each 7th training row is asked, for pairs of answers
if [ "$size" = tiny ]; then
  speech_options="--n-pairs 300 --hours 0.03 --n-dev 10 --n-test 20 --n-text 400"
  question_options="--per-clip 1 --n-text 600"
  nth=41
  for s in encoder text align tune prefer; do train_options+=" --set phase.$s.steps=4"; done
fi
# Speech stands here twice, as the preset asks for it under two tasks.
sets="
  speech=train                      speech_valid=dev
  transcripts=train                 transcripts_valid=dev
  text=text                         text_valid=text_dev
  sounds=$esc10/train               sounds_valid=$esc10/dev
  questions=$esc10/questions_train  questions_valid=$esc10/questions_dev_nth
  text_questions=esc10/text         text_questions_valid=esc10/text_dev
  pairs=pairs/pairs                 pairs_valid=pairs_valid/pairs"
train() {  # with all sets that are there: pairs come last
  local set_options=() s
  for s in $sets; do
    [ ! -f "$data/${s#*=}.jsonl" ] || set_options+=(--data "${s%=*}=$data/${s#*=}.jsonl")
  done
  speechllm train multi --tokenizer "$data/tokenizer" "${set_options[@]}" --out "$out" \
    --set seed="$seed" --device cpu --workers 0 --num-processes "$num_processes" $train_options "$@"
}
ask() {  # ask MODEL NAME SPLIT: answers under the three instructions
  for t in asr translate; do
    speechllm decode "$out/$1" "$data/$3.jsonl" --task $t --out "$out/$2_$t" --device cpu
  done
  speechllm decode "$out/$1" "$data/$esc10/questions_$3.jsonl" --task qa --out "$out/$2_qa" \
    --device cpu --max-tokens-per-s 4
}
pairs() {  # pairs ANSWERS NAME
  speechllm data prepare pairs --decodes "$out/$1"_{asr,translate,qa} --seed "$seed" --out "$data/$2"
}
score() {  # score DECODE METRIC NORMALISER [EXPERIMENT DECODE]: with a paired test against the last
  speechllm score "$out/decode_$1" --metric "$2" --normaliser "$3"
  [ -z "${4-}" ] || speechllm score "$out/decode_$1" --metric "$2" --normaliser "$3" --against "$4/$5"
}
if begin 0 "look"; then
  [ -f "$corpus" ] || die "--corpus wants a table, got '$corpus'"
  [ -d "$sounds/audio" ] || die "--sounds wants a folder with audio/ in it, got '$sounds'"
fi
if begin 1 "manifests"; then
  speechllm data prepare tatoeba --corpus "$corpus" $speech_options --seed "$seed" --out "$data"
  speechllm data prepare esc10 --corpus "$sounds" --folds "$fold" $question_options --seed "$seed" \
    --out "$data/esc10"
  for f in "$data"/{,$esc10/questions_}{train,dev}; do
    speechllm data split "$f.jsonl" --parts "${f##*/}_nth=1/$nth"
  done
fi
if begin 2 "tokenizer"; then
  speechllm data tokenizer "$data"{,/esc10}/text.jsonl --vocab-size 300 --out "$data/tokenizer" \
    --also "English: German:"
fi
if begin 3 "train encoder, LLM, adapter"; then
  train --until align
fi
if begin 4 "tune, then prefer"; then
  train --until tune
  ask tune learned train_nth
  ask tune learned_dev dev_nth
  pairs learned pairs
  pairs learned_dev pairs_valid
  train
fi
if begin 5 "decode"; then
  for s in align tune prefer; do ask $s decode_$s test; done
fi
if begin 6 "score and report"; then
  for s in align tune prefer; do
    score ${s}_asr wer none "$speech_alone" decode_recognise
    score ${s}_translate bleu,chrf none "$speech_alone" decode_direct
    score ${s}_qa accuracy basic "$sounds_alone" decode_questions_test
    speechllm following en="$out/decode_${s}_asr" de="$out/decode_${s}_translate" \
      answer="$out/decode_${s}_qa" --out "$out/following_$s"
  done
  results "One model, three tasks" "$out"
fi
