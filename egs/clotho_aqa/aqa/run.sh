#!/usr/bin/env bash
# Clotho-AQA: questions about field recordings, yes/no and one word, with a pretrained encoder and LLM.
#
#   run.sh --corpus DIR [--preset NAME] [--out DIR] [--stage N] [--stop-stage M]
#
# DIR holds clotho_aqa_{train,val,test}.csv and audio_files/ (zenodo.org/records/6473207, 3.7 GB).
# The preset is any of `speechllm presets` that hears sounds; what is asked are the questions
# themselves. Stages: 0 look for the corpus, 1 manifests, 2 check them, 3 train the first
# phase, 4 the others, 5 decode, 6 score and report.

set -euo pipefail
. "$(dirname "$0")/../../options.sh"
corpus=
out=exp/clotho_aqa
preset=sounds_whisper
first=adapter
seed=0
options "$@"
data=$out/data
train() {
  speechllm train "$preset" --out "$out/$preset" --set seed="$seed" --set 'task.name=qa' \
    --data train="$data/train.jsonl" --data valid="$data/dev.jsonl" $train_options "$@"
}
if begin 0 "look for the corpus"; then
  [ -d "$corpus/audio_files" ] || die "--corpus DIR must hold audio_files/; got '$corpus'"
fi
if begin 1 "manifests"; then
  speechllm data prepare clotho_aqa --corpus "$corpus" --out "$data"
fi
if begin 2 "check the manifests"; then
  for s in train dev test; do speechllm data validate "$data/$s.jsonl"; done
fi
if begin 3 "train the first phase"; then train --until "$first"; fi
if begin 4 "train the other phases"; then train; fi
if begin 5 "decode"; then
  speechllm decode "$out/$preset" "$data/test.jsonl" --audio real shuffled silent
  speechllm decode "$out/$preset" "$data/test_unanimous.jsonl"
fi
if begin 6 "score and report"; then
  for d in test test_shuffled test_silent test_unanimous; do
    speechllm score "$out/$preset/decode_$d" --metric accuracy,macro_f1 --normaliser basic
  done
  results "Clotho-AQA" "$out/$preset" --declared "$preset=egs/clotho_aqa/aqa/run.sh --corpus DIR"
fi
