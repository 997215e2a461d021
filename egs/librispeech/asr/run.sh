#!/usr/bin/env bash
# LibriSpeech, from scratch or with a preset of pretrained parts, on any of its training sets.
#
#   run.sh --corpus DIR [--train train-clean-5] [--test "dev-clean ..."] [--preset librispeech_small]
#          [--download yes] [--speeds "0.9 1.1"] [--tokenizer DIR] [--cmvn yes]
#          [--train-options "--set ..."] [--decode-options "--num-beams 1" --way _greedy]
#   run.sh --corpus DIR --preset whisper_llm [--encoder DIR] [--llm DIR] [--adapter linear --out EXP]
#          [--data DIR] [--also "--benchmark DIR EXP ..."]
#
# DIR holds dev-clean/ and so on (.flac, .opus, .ogg, .wav). Presets of pretrained parts: --tokenizer
# pretrained --until adapter. whisper_llm and whisper_speller set both, and store the states of their
# frozen encoder; --encoder and --llm: where the parts lie, if not on the Hub; --adapter: another of
# speechllm/models/adapters; --data: manifests and states that experiments share; --speeds: copies of
# train that are learned from too; --way: ends the names of another way to decode; --also: what else
# the report is of; --cmvn: log-mel in units of its mean and deviation over train. Stages: 0 download
# if asked, 1 manifests (1/20 of train is for validation), 2 copies, tokenizer, statistics, states,
# 3 up to the adapter, 4 the rest, 5 decode, 6 score.

set -euo pipefail
. "$(dirname "$0")/../../options.sh"
corpus='' train=train-clean-5 test=dev-clean preset=librispeech_small out='' data='' download=no
speeds='' tokenizer='' cmvn=no states=no until='' encoder='' llm='' adapter=''
metric=wer num_beams='' decode_options='' way='' also=''
options "$@"
[ -n "$corpus" ] || die "--corpus DIR is needed"
[[ $preset != whisper_* ]] || states=yes tokenizer=${tokenizer:-pretrained}
[ "$preset" != whisper_speller ] || until=${until:-spell}
until=${until:-align}
out=${out:-exp/librispeech}
data=${data:-$out/data}
tokenizer=${tokenizer:-$data/tokenizer}
learned=train${speeds:+_speeds}
parts
[ "$cmvn" = no ] || PARTS+=(--set frontend.cmvn=global --set frontend.stats="$data/cmvn.json")
spells=(--tokenizer "$tokenizer")
[ "$tokenizer" != pretrained ] || spells=()  # the LLM brings its own
[ "$states" = no ] || stored=.states
prepare() { speechllm data prepare librispeech --corpus "$corpus" --out "$data" --splits $train $test "$@"; }
train() {
  speechllm train "$preset" "${spells[@]}" "${PARTS[@]}" --out "$out" $train_options "$@" \
    --data train="$data/$learned${stored:-}.jsonl" --data valid="$data/valid${stored:-}.jsonl"
}
if begin 0 "corpus" && [ "$download" = yes ]; then prepare --download; fi
if begin 1 "manifests"; then
  prepare
  speechllm data join $(printf "$data/%s.jsonl " $train) --out "$data/all.jsonl"
  speechllm data split "$data/all.jsonl" --parts valid=1/20 train=rest
fi
if begin 2 "copies, tokenizer, statistics, states of a frozen encoder"; then
  if [ -n "$speeds" ]; then
    speechllm data copies "$data/train.jsonl" $(printf 'speed%s ' $speeds) --out "$data/copies"
    speechllm data join "$data/train.jsonl" "$data"/copies/*/*.jsonl --prefix --out "$data/$learned.jsonl"
  fi
  [ "$tokenizer" != "$data/tokenizer" ] ||
    speechllm data tokenizer "$data/train.jsonl" --vocab-size 200 --out "$tokenizer"
  [ "$cmvn" = no ] || features stats "$data/train.jsonl" "$data/cmvn.json" --preset kaldi_fbank80
  [ "$states" = no ] || speechllm data states "$preset" "$data/$learned.jsonl" "$data/valid.jsonl" \
    "${PARTS[@]}" --out "$data/states" --beside states
fi
published "LibriSpeech" "$test" $decode_options
