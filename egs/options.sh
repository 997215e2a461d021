#!/usr/bin/env bash
# Sourced by every recipe, after its settings: --help, --stage N, --stop-stage M, --name value.
# A setting is any variable that the recipe has set before; nothing is evaluated.
stage=${stage:-0}
stop_stage=${stop_stage:-6}

die() { echo "$0: $*" >&2; exit 2; }

while [ $# -gt 0 ]; do
  case $1 in
    --help | -h) sed -n '2,/^[^#]/{s/^# \{0,1\}//p}' "$0"; exit 0 ;;
    --*)
      name=${1#--}; name=${name//-/_}
      [[ $name =~ ^[a-z_][a-z_0-9]*$ && -v $name ]] || die "no setting --${1#--}; see --help"
      [ $# -ge 2 ] || die "$1 wants a value"
      printf -v "$name" '%s' "$2"
      shift 2 ;;
    *) die "wanted --name value, got '$1'; see --help" ;;
  esac
done
[[ $stage =~ ^[0-9]+$ && $stop_stage =~ ^[0-9]+$ ]] || die "--stage and --stop-stage want numbers"

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
[ ! -d "$root/.venv/bin" ] || PATH=$root/.venv/bin:$PATH
command -v speechllm >/dev/null || die "no speechllm command; run 'make install' in $root first"

# begin N TEXT: say whether stage N is to run, and announce it.
begin() {
  [ "$stage" -le "$1" ] && [ "$stop_stage" -ge "$1" ] || return 1
  echo "== stage $1: $2"
}
