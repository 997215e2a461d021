#!/usr/bin/env bash
# LibriSpeech: from scratch, or with a preset of pretrained parts; mini (5 h), 100 h or 960 h.
#
#   run.sh --corpus DIR [--size mini|100h|960h] [--preset librispeech_small] [--test "dev-clean ..."]
#          [--download yes] [--tokenizer DIR] [--train-options "--set ..."] [--num-beams 4]
#          [--cmvn yes]
#   run.sh --corpus DIR --preset whisper_llm [--encoder DIR] [--llm DIR] [--adapter linear]
#          [--decode-options "--ctc-weight 0.5 --precision bf16"]
#
# DIR holds dev-clean/ and so on (.flac, .opus, .ogg, .wav). Presets of pretrained parts: --tokenizer
# pretrained --until adapter. whisper_llm and whisper_speller set both, and store the states of their
# frozen encoder; --encoder and --llm say where the parts lie, if not on the Hub; --adapter takes
# another of speechllm/models/adapters. --cmvn yes: the log-mel (kaldi_fbank80) in units of its mean and
# deviation over train. Stages: 0 download if asked, 1 manifests (1/20 of train is for validation),
# 2 tokenizer, statistics, states, 3 up to the adapter, 4 the rest, 5 decode, 6 score.

set -euo pipefail
. "$(dirname "$0")/../../options.sh"
corpus=
size=mini
preset=librispeech_small
out=
download=no
test=dev-clean
tokenizer=
encoder=
llm=
states=no
cmvn=no
until=
num_beams=1
adapter=
decode_options=
options "$@"
case $preset in
  whisper_*)
    states=yes
    tokenizer=${tokenizer:-pretrained} ;;
esac
[ "$preset" != whisper_speller ] || until=${until:-spell}
case $size in
  mini) train="train-clean-5" ;;
  100h) train="train-clean-100" ;;
  960h) train="train-clean-100 train-clean-360 train-other-500" ;;
  *) die "--size: wanted mini, 100h or 960h, got '$size'" ;;
esac
[ -n "$corpus" ] || die "--corpus DIR is needed"
out=${out:-exp/librispeech_$size}
data=$out/data
tokenizer=${tokenizer:-$data/tokenizer}
tokenizer_options=(--tokenizer "$tokenizer")
[ "$tokenizer" != pretrained ] || tokenizer_options=()  # the LLM brings its own
parts=()
[ -z "$encoder" ] || parts+=(--set encoder.pretrained="$encoder")
[ -z "$llm" ] || parts+=(--set llm.pretrained="$llm")
[ -z "$adapter" ] || parts+=(--set "adapter={name='$adapter'}")
[ "$cmvn" = no ] || parts+=(--set frontend.cmvn=global --set frontend.stats="$data/cmvn.json")
kind=
[ "$states" = no ] || kind=.states
train() {
  speechllm train "$preset" "${tokenizer_options[@]}" "${parts[@]}" --out "$out" \
    --data train="$data/train$kind.jsonl" --data valid="$data/valid$kind.jsonl" $train_options "$@"
}
if begin 0 "corpus" && [ "$download" = yes ]; then
  speechllm data prepare librispeech --corpus "$corpus" --out "$data" --download --splits $train $test
fi
if begin 1 "manifests"; then
  speechllm data prepare librispeech --corpus "$corpus" --out "$data" --splits $train $test
  speechllm data join $(printf "$data/%s.jsonl " $train) --out "$data/all.jsonl"
  speechllm data split "$data/all.jsonl" --parts valid=1/20 train=rest
fi
if begin 2 "tokenizer, statistics, states of a frozen encoder"; then
  if [ "$tokenizer" = "$data/tokenizer" ]; then
    speechllm data tokenizer "$data/train.jsonl" --vocab-size 200 --out "$tokenizer"
  fi
  [ "$cmvn" = no ] || features stats "$data/train.jsonl" "$data/cmvn.json" --preset kaldi_fbank80
  if [ "$states" = yes ]; then
    for part in train valid; do
      speechllm data states "$preset" "$data/$part.jsonl" ${encoder:+--set encoder.pretrained="$encoder"} \
        --out "$data/states" --manifest "$data/$part.states.jsonl"
    done
  fi
fi
if begin 3 "train up to the adapter"; then train --until "${until:-align}"; fi
if begin 4 "train the later phases"; then train; fi
if begin 5 "decode"; then
  for t in $test; do speechllm decode "$out" "$data/$t.jsonl" --num-beams "$num_beams" $decode_options; done
fi
if begin 6 "score and report"; then
  for t in $test; do speechllm score "$out/decode_$t" --manifest "$data/$t.jsonl"; done
  results "LibriSpeech $size" "$out"
fi
