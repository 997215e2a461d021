#!/usr/bin/env bash
# AudioCaps: a sentence that describes ten seconds of sound, with a pretrained encoder and LLM.
#
#   run.sh --corpus DIR [--audio-dir DIR] [--preset NAME] [--out DIR] [--stage N] [--stop-stage M]
#
# DIR is a clone of github.com/cdjkim/audiocaps (dataset/*.csv); the sounds, which it does not hold,
# lie in --audio-dir. Clips that are gone are listed in OUT/data/skipped.txt. Stages: 0 look for the
# corpus, 1 manifests, 2 check them, 3 train the first phase, 4 the others, 5 decode, 6 score and
# report: CIDEr-D, ROUGE-L and BLEU against five descriptions a clip.

set -euo pipefail
. "$(dirname "$0")/../../options.sh"
corpus=
audio_dir=
out=exp/audiocaps
preset=sounds_whisper
first=adapter
seed=0
num_beams=4
options "$@"
data=$out/data
train() {
  speechllm train "$preset" --out "$out/$preset" --set seed="$seed" --set 'task={ name = "caption" }' \
    --data train="$data/train.jsonl" --data valid="$data/dev.jsonl" $train_options "$@"
}
if begin 0 "look for the corpus"; then
  [ -f "$corpus/dataset/train.csv" ] || die "--corpus DIR must hold dataset/train.csv; got '$corpus'"
fi
if begin 1 "manifests"; then
  speechllm data prepare audiocaps --corpus "$corpus" --audio-dir "${audio_dir:-$corpus}" \
    --out "$data" --on-error skip
fi
if begin 2 "check the manifests"; then
  for s in train dev test; do speechllm data validate "$data/$s.jsonl"; done
fi
if begin 3 "train the first phase"; then train --until "$first"; fi
if begin 4 "train the other phases"; then train; fi
if begin 5 "decode"; then
  speechllm decode "$out/$preset" "$data/test.jsonl" --num-beams "$num_beams" --audio real shuffled silent
fi
if begin 6 "score and report"; then
  for d in test test_shuffled test_silent; do
    speechllm score "$out/$preset/decode_$d" --metric cider,rouge_l,bleu --normaliser basic
  done
  results "AudioCaps" "$out/$preset" --declared "$preset=egs/audiocaps/caption/run.sh --corpus DIR"
fi
