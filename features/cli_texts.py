"""What `features --help` says."""

ABOUT = "Audio front end: sound files to features, pictures, presets and how far apart they are."
EXAMPLES = {
    "presets": """\
  features presets                                              what there is
  features presets whisper80                                    all options of one preset""",
    "extract": """\
  features extract corpus/ --out fbank --jobs 4                 a folder, with its subfolders
  features extract dev.jsonl --preset whisper80 --out mel       a manifest (JSON Lines)
  features extract train.jsonl --out fbank --manifest train.fbank.jsonl   to train on
  features extract dev.jsonl --out mfcc --format ark            Kaldi archives, with feats.scp
  features extract a.flac --out fbank --option num_mel_bins=40  any option, as often as wanted
  features extract dev.jsonl --out mfcc --config conf/mfcc_hires.conf     as Kaldi has it""",
    "plot": """\
  features plot a.flac steps.png --start 1.5 --duration 2       waveform, spectrogram, mel, cepstra
  features plot a.flac steps.pdf --preset kaldi_fbank80         another front end
  features plot a.flac g.png --option sampling_rate=8000 --quantize g711-alaw   as a telephone""",
    "stats": """\
  features stats train.jsonl stats.json                         mean and deviation of a corpus
  features extract train.jsonl --out fbank --option cmvn=global --option stats=stats.json""",
    "compare": """\
  features compare kaldi_fbank80 torchaudio_mel a.flac          where two presets part, in numbers
  features compare kaldi_fbank80 kaldi_fbank80:window=hann,low_freq=0 a.flac""",
}
NOTES = {
    "presets": """\
Hz is the sampling rate, ms the length of a frame, dim the width of a row, steps/s rows a second.
Any option can be given another value: --option NAME=VALUE here, features.get(PRESET, NAME=VALUE) in
Python.""",
    "extract": """\
A manifest has a line {"id", "audio", "start", "duration"} an utterance (in seconds); only id and
audio must be. The folder gets shards that speechllm trains on (features.stored reads them), or with
--format ark Kaldi archives and feats.scp. Run the same line again to go on where it stopped. Exit
status: 0 when all went well, 1 when some files failed, 2 when nothing could be done.""",
    "plot": """\
The axes are in s, Hz and dB under the loudest spot. Kinds of --quantize are linear8, linear16,
mulaw, alaw (by their formulas), g711-mulaw and g711-alaw; the title has the ratio of the signal to
the error in dB.""",
    "stats": """\
Over all frames of all sounds, for the options cmvn = "global" and stats = FILE of the same front
end. The numbers go into whatever is made with them: the file is not needed afterwards.""",
    "compare": """\
A row a step: shapes (frames x columns) of both, then mean and largest absolute difference, in the
unit of that step. Where the frames differ in number the first ones are compared; "-" where the
columns do, or where only one has the step. Each gets the sound at its own rate.""",
}
