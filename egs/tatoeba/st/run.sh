#!/usr/bin/env bash
# Speech translation of short sentences on a CPU, in three ways side by side: from nothing, or with
# --preset tatoeba_whisper by Whisper's encoder and Qwen.
#
#   run.sh --corpus TABLE [--columns "en de"] [--source de] [--out DIR] [--stage N] [--stop-stage M]
#          [--n-pairs 12000] [--hours 2.5] [--seed 0] [--preset tatoeba] [--train-options "--set ..."]
#          [--encoder DIR] [--llm DIR]
#
# TABLE: two columns of sentences (Tatoeba; .tsv or .tsv.gz). espeak-ng speaks the simplest of the first
# column, or of the other that --source names, in mini's voices; voices and sentences of the test never
# occur in training. Compared: direct translation, recognition and then translation in one answer
# (chain), a cascade of recogniser and text translation, and that from perfect transcripts (oracle).
# --encoder and --llm say where pretrained parts lie, if not on the Hub. Stages: 0 look for the table,
# 1 speak, 2 tokenizer or states of the frozen encoder, 3 train up to the adapter, 4 adapter and LoRA,
# 5 decode, 6 score and report.

set -euo pipefail
. "$(dirname "$0")/../../options.sh"
corpus=
columns="en de"
source=
out=exp/tatoeba
preset=tatoeba
encoder=
llm=
n_pairs=12000
hours=2.5
seed=0
vocab_size=300
num_processes=2
options "$@"
data=$out/data
tokenizer=(--tokenizer "$data/tokenizer")
stored=
parts
if [ "$preset" = tatoeba_whisper ]; then
  tokenizer=()  # the LLM brings its own
  stored=.states
fi
train() {
  speechllm train "$preset" "${tokenizer[@]}" "${PARTS[@]}" --out "$out" --set seed="$seed" \
    --data train="$data/train$stored.jsonl" --data valid="$data/dev$stored.jsonl" \
    --data text="$data/text.jsonl" --data text_valid="$data/text_dev.jsonl" --device cpu --workers 0 \
    --num-processes "$num_processes" $train_options "$@"
}
decode() {  # decode MODEL MANIFEST WAY NAME
  speechllm decode "$1" "$2" --set task.way="$3" --out "$out/decode_$4" --device cpu
}
transcripts() {  # transcripts NAME [OPTION...]: a manifest of texts to translate, no sound
  speechllm data prepare transcripts --references "$data/test.jsonl" --out "$data/$1" "${@:2}"
}
if begin 0 "look for the table"; then
  [ -f "$corpus" ] || die "--corpus: no table '$corpus'"
fi
if begin 1 "speak the sentences"; then
  speechllm data prepare tatoeba --corpus "$corpus" --columns $columns --source "$source" \
    --n-pairs "$n_pairs" --hours "$hours" --seed "$seed" --out "$data"
fi
if begin 2 "tokenizer, or states of a frozen encoder"; then
  if [ -z "$stored" ]; then
    speechllm data tokenizer "$data/text.jsonl" --vocab-size "$vocab_size" --out "$data/tokenizer" \
      --also "English, German: English: German,"
  else
    speechllm data states "$preset" "$data/train.jsonl" "$data/dev.jsonl" "${PARTS[@]}" \
      --out "$data/states" --beside states
  fi
fi
if begin 3 "train encoder, LLM and adapter"; then train --until align; fi
if begin 4 "tune adapter and LoRA"; then train; fi
if begin 5 "decode in three ways"; then
  for way in direct chain recognise; do decode "$out" "$data/test.jsonl" $way $way; done
  transcripts cascade --corpus "$out/decode_recognise"
  transcripts oracle
  for name in cascade oracle; do decode "$out/text" "$data/$name/test.jsonl" direct $name; done
fi
if begin 6 "score and report"; then
  for way in direct chain cascade oracle recognise; do
    speechllm score "$out/decode_$way" --normaliser none
  done
  for pair in "direct cascade" "chain cascade" "chain direct"; do
    speechllm score "$out/decode_${pair% *}" --against "$out/decode_${pair#* }"
  done
  results "Tatoeba" "$out"
fi
