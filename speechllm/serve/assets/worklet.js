// Hands on what the microphone hears, in chunks of 4096 samples.
class Chunks extends AudioWorkletProcessor {
  constructor() {
    super();
    this.chunk = new Float32Array(4096);
    this.n = 0;
  }
  process([[samples]]) {
    for (const value of samples || []) {
      this.chunk[this.n++] = value;
      if (this.n === this.chunk.length) {
        this.port.postMessage(this.chunk);
        this.n = 0;
      }
    }
    return true;
  }
}
registerProcessor("chunks", Chunks);
