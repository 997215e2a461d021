#!/usr/bin/env bash
# LibriSpeech: from scratch, or with a preset of pretrained parts; mini (5 h), 100 h or 960 h.
#
#   run.sh --corpus DIR [--size mini|100h|960h] [--preset librispeech_small] [--test "dev-clean ..."]
#          [--download yes] [--tokenizer DIR] [--train-options "--set ..."] [--num-beams 4] [--cmvn yes]
#   run.sh --corpus DIR --preset whisper_llm [--encoder DIR] [--llm DIR] [--adapter linear --out EXP]
#          [--data DIR] [--decode-options "--num-beams 1 --precision bf16" --way _greedy] [--also "EXP ..."]
#
# DIR holds dev-clean/ and so on (.flac, .opus, .ogg, .wav). Presets of pretrained parts: --tokenizer
# pretrained --until adapter. whisper_llm and whisper_speller set both, and store the states of their
# frozen encoder; --encoder and --llm: where the parts lie, if not on the Hub; --adapter: another of
# speechllm/models/adapters; --data: manifests and states that experiments share; --way: ends the names
# of another way to decode; --also: experiments beside it in the report; --cmvn: log-mel in units of its
# mean and deviation over train. Stages: 0 download if asked, 1 manifests (1/20 of train is for
# validation), 2 tokenizer, statistics, states, 3 up to the adapter, 4 the rest, 5 decode, 6 score.

set -euo pipefail
. "$(dirname "$0")/../../options.sh"
corpus='' size=mini preset=librispeech_small out='' data='' download=no test=dev-clean cmvn=no until=''
tokenizer='' encoder='' llm='' adapter='' states=no num_beams='' decode_options='' way='' also=''
options "$@"
[ -n "$corpus" ] || die "--corpus DIR is needed"
declare -A sizes=([mini]=train-clean-5 [100h]=train-clean-100)
sizes[960h]="train-clean-100 train-clean-360 train-other-500"
train=${sizes[$size]:-}
[ -n "$train" ] || die "--size: wanted mini, 100h or 960h, got '$size'"
[[ $preset != whisper_* ]] || states=yes tokenizer=${tokenizer:-pretrained}
[ "$preset" != whisper_speller ] || until=${until:-spell}
out=${out:-exp/librispeech_$size}
data=${data:-$out/data}
tokenizer=${tokenizer:-$data/tokenizer}
parts
[ "$cmvn" = no ] || PARTS+=(--set frontend.cmvn=global --set frontend.stats="$data/cmvn.json")
spells=(--tokenizer "$tokenizer")
[ "$tokenizer" != pretrained ] || spells=()  # the LLM brings its own
[ "$states" = no ] || stored=.states
prepare() { speechllm data prepare librispeech --corpus "$corpus" --out "$data" --splits $train $test "$@"; }
train() {
  speechllm train "$preset" "${spells[@]}" "${PARTS[@]}" --out "$out" $train_options "$@" \
    --data train="$data/train${stored:-}.jsonl" --data valid="$data/valid${stored:-}.jsonl"
}
if begin 0 "corpus" && [ "$download" = yes ]; then prepare --download; fi
if begin 1 "manifests"; then
  prepare
  speechllm data join $(printf "$data/%s.jsonl " $train) --out "$data/all.jsonl"
  speechllm data split "$data/all.jsonl" --parts valid=1/20 train=rest
fi
if begin 2 "tokenizer, statistics, states of a frozen encoder"; then
  [ "$tokenizer" != "$data/tokenizer" ] ||
    speechllm data tokenizer "$data/train.jsonl" --vocab-size 200 --out "$tokenizer"
  [ "$cmvn" = no ] || features stats "$data/train.jsonl" "$data/cmvn.json" --preset kaldi_fbank80
  [ "$states" = no ] || speechllm data states "$preset" "$data/train.jsonl" "$data/valid.jsonl" \
    "${PARTS[@]}" --out "$data/states" --beside states
fi
if begin 3 "train up to the adapter"; then train --until "${until:-align}"; fi
if begin 4 "train the later phases"; then train; fi
if begin 5 "decode"; then
  search="${num_beams:+--num-beams $num_beams} $decode_options"
  for t in $test; do speechllm decode "$out" "$data/$t.jsonl" --out "$out/decode_$t$way" $search; done
fi
if begin 6 "score and report"; then
  for t in $test; do speechllm score "$out/decode_$t$way" --manifest "$data/$t.jsonl"; done
  results "LibriSpeech $size" "$out" $also
fi
