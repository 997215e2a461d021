"""pocketsphinx as a program of `speechllm benchmark`: reads a path a line, answers a line.

pip install pocketsphinx        # its package holds a model of English
speechllm benchmark ... --command "pocketsphinx=python benchmarks/pocketsphinx_lines.py"
"""

import sys

import numpy as np
import pocketsphinx

import features


def main() -> None:
    """Recognise each file that is named on a line of the standard input."""
    decoder = pocketsphinx.Decoder(loglevel="FATAL")
    for line in sys.stdin:
        wave, _ = features.load(line.rstrip("\n"), sampling_rate=16000)
        decoder.start_utt()
        samples = np.clip(np.round(wave * 32768), -32768, 32767).astype("<i2")
        decoder.process_raw(samples.tobytes(), no_search=False, full_utt=True)
        decoder.end_utt()
        print(decoder.hyp().hypstr if decoder.hyp() else "", flush=True)


if __name__ == "__main__":
    main()
