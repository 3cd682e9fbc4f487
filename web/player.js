// Plays answers as their sound arrives, and knows to the millisecond what was heard of each.

export const PLAYED_RATE = 24_000;
const HEAD_START = 0.05;

/** Event: drained, when all that was pushed has been heard. */
export class Player extends EventTarget {
  #make;
  #context = null;
  #analyser = null;
  #parts = [];
  #window = new Float32Array(1024);

  /** `make` gives the audio context, which browsers let sound after a key or click only. */
  constructor(make = () => new AudioContext({ sampleRate: PLAYED_RATE })) {
    super();
    this.#make = make;
  }

  /** To be called when the user did something: sound may be played from then on. */
  open() {
    if (!this.#context) {
      this.#context = this.#make();
      this.#analyser = this.#context.createAnalyser();
      this.#analyser.fftSize = this.#window.length;
      this.#analyser.connect(this.#context.destination);
    }
    void this.#context.resume();
  }

  /** Play samples, at 24 kHz, after those that were pushed before. */
  push(item, index, samples) {
    if (samples.length === 0) return;
    this.open();
    const buffer = this.#context.createBuffer(1, samples.length, PLAYED_RATE);
    buffer.copyToChannel(samples, 0);
    const source = this.#context.createBufferSource();
    source.buffer = buffer;
    source.connect(this.#analyser);
    const part = { item, index, start: this.#next(), length: samples.length, source };
    // What was heard of an item is only asked while the item is heard.
    if (!this.#busy) this.#parts = [];
    this.#parts.push(part);
    source.onended = () => this.#ended(part);
    source.start(part.start / PLAYED_RATE);
  }

  /** Whether something is being heard, or about to be. */
  get playing() {
    return this.#busy;
  }

  /**
   * Be silent at once. Returns, for each item that was not heard to its end, {item, index, ms}:
   * the milliseconds of it that were heard.
   */
  flush() {
    const now = this.#heardUpTo();
    const cut = new Map();
    for (const { item, index, start, length } of this.#parts) {
      const heard = Math.max(0, Math.min(length, now - start));
      const known = cut.get(item) ?? { item, index, heard: 0, whole: true };
      known.heard += heard;
      known.whole &&= heard === length;
      cut.set(item, known);
    }
    for (const { source } of this.#parts) source?.stop();
    this.#parts = [];
    return [...cut.values()]
      .filter(({ whole }) => !whole)
      .map(({ item, index, heard }) => {
        return { item, index, ms: Math.floor((heard * 1000) / PLAYED_RATE) };
      });
  }

  /** Loudness now: RMS of what is heard, 0 to 1. */
  get level() {
    if (!this.#busy) return 0;
    this.#analyser.getFloatTimeDomainData(this.#window);
    const power = this.#window.reduce((sum, sample) => sum + sample * sample, 0);
    return Math.sqrt(power / this.#window.length);
  }

  get #busy() {
    return this.#parts.some(({ source }) => source !== null);
  }

  // Positions are whole samples on the context's clock, so that parts join without a seam.
  #next() {
    const soon = Math.ceil((this.#context.currentTime + HEAD_START) * PLAYED_RATE);
    const last = this.#parts.at(-1);
    return last ? Math.max(last.start + last.length, soon) : soon;
  }

  #heardUpTo() {
    if (!this.#context) return 0;
    const { currentTime, outputLatency, baseLatency } = this.#context;
    return (currentTime - (outputLatency || baseLatency || 0)) * PLAYED_RATE;
  }

  #ended(part) {
    part.source = null;
    if (this.#parts.includes(part) && !this.#busy) this.dispatchEvent(new CustomEvent("drained"));
  }
}
