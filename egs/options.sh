#!/usr/bin/env bash
# What all recipes have in common. A recipe sources this file, sets its settings (variables) and calls
#
#   options "$@"      --help, --name value for each variable that is set; nothing is evaluated
#   begin N TEXT      succeeds where stage N is to run, and announces it
#   parts             give in the array PARTS what --encoder, --llm and --adapter set of a preset
#   results TITLE EXPERIMENT... [OPTION...]      write OUT/RESULTS.md and OUT/report.html
#   published TITLE "SETS" [DECODE OPTION...]    stages 3 to 6 of a published system on a corpus
#   from_nothing TITLE RUN MANIFEST...           stages 2 to 6 of a small corpus, from nothing
# The last two call the recipe's own function `train [OPTION...]`.

# Settings that each recipe has; a recipe may set others before it calls `options`.
# shellcheck disable=SC2034  # the recipes use them
stage=0 stop_stage=6 train_options='' report=''

die() {
  echo "$0: $*" >&2
  exit 2
}

options() {
  local _name
  while [ $# -gt 0 ]; do
    case $1 in
      --help | -h)
        sed -n '2,${/^#/!q;s/^# \{0,1\}//p;}' "$0"  # the comment at the head of the recipe
        exit 0 ;;
      --*)
        _name=${1#--}
        _name=${_name//-/_}
        [[ $_name =~ ^[a-z][a-z_0-9]*$ && -v $_name ]] || die "no setting --${1#--}; see --help"
        [ $# -ge 2 ] || die "$1 wants a value"
        printf -v "$_name" '%s' "$2"
        shift 2 ;;
      *) die "wanted --name value, got '$1'; see --help" ;;
    esac
  done
  [[ $stage =~ ^[0-9]+$ && $stop_stage =~ ^[0-9]+$ ]] || die "--stage and --stop-stage want numbers"
  find_command
}

find_command() {  # that of `make install` before any other
  local root
  root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
  [ ! -d "$root/.venv/bin" ] || PATH=$root/.venv/bin:$PATH
  command -v speechllm >/dev/null || die "no speechllm command; run 'make install' in $root first"
}

begin() {
  [ "$stage" -le "$1" ] && [ "$stop_stage" -ge "$1" ] || return 1
  echo "== stage $1: $2"
}

# shellcheck disable=SC2034,SC2154  # the recipe has these settings, or some of them, and PARTS
parts() {
  PARTS=()
  [ -z "${encoder:-}" ] || PARTS+=(--set encoder.pretrained="$encoder")
  [ -z "${llm:-}" ] || PARTS+=(--set llm.pretrained="$llm")
  [ -z "${adapter:-}" ] || PARTS+=(--set "adapter={name='$adapter'}")
}

# shellcheck disable=SC2154  # the recipe says where its --out is
results() {
  local title=$1
  shift
  speechllm report "$@" --title "$title" --out "${report:-$out/RESULTS.md}" --page "$out/report.html"
}

# shellcheck disable=SC2086,SC2154  # the recipe has these settings; `way` and `also` if it wants
published() {  # SETS: names of manifests in $data, decoded one by one
  local title=$1 sets=$2 t
  shift 2
  if begin 3 "train up to the adapter"; then train --until "$until"; fi
  if begin 4 "train the later phases"; then train; fi
  if begin 5 "decode"; then
    for t in $sets; do
      speechllm decode "$out" "$data/$t.jsonl" --out "$out/decode_$t${way:-}" \
        ${num_beams:+--num-beams "$num_beams"} "$@"
    done
  fi
  if begin 6 "score and report"; then
    for t in $sets; do
      speechllm score "$out/decode_$t${way:-}" --metric "$metric" --manifest "$data/$t.jsonl"
    done
    results "$title" "$out" ${also:-}
  fi
}

# shellcheck disable=SC2086,SC2154
from_nothing() {  # RUN: the experiment; `reported` may be a pattern of all that go into the report
  local title=$1 run=$2 d
  shift 2
  if begin 2 "tokenizer"; then
    speechllm data tokenizer "$data/text.jsonl" --vocab-size 200 --out "$data/tokenizer"
  fi
  if begin 3 "the LLM reads questions"; then train --until text; fi
  if begin 4 "all else"; then train; fi
  if begin 5 "decode"; then speechllm decode "$run" "$@" --media real shuffled silent; fi
  if begin 6 "score and report"; then
    for d in "$run"/decode_*; do speechllm score "$d" --metric accuracy --normaliser basic; done
    local IFS=  # the pattern is expanded, but not split at spaces
    results "$title" ${reported:-$run}
  fi
}
