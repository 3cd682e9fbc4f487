// Audio on its way to the server, kept until the words it holds are settled, so that a dropped
// connection can be made good. Positions count samples at 24 kHz since the page began to listen.

import { OUTPUT_RATE } from "./resampler-worklet.js";

const LONGEST = 20 * OUTPUT_RATE;

export class Outbox {
  #chunks = [];
  #next = 0;
  #end = 0;
  #lost = 0;

  constructor(start = 0) {
    this.#end = start;
  }

  /** The position after the last sample captured. */
  get end() {
    return this.#end;
  }

  /** Keep a chunk of 16-bit PCM; beyond 20 s the oldest goes, and counts as lost if unsent. */
  push(pcm) {
    const chunk = { at: this.#end, length: pcm.byteLength / 2, pcm };
    this.#chunks.push(chunk);
    this.#end += chunk.length;
    while (this.#end - this.#chunks[0].at > LONGEST) {
      if (this.#next === 0) this.#lost += this.#chunks[0].length;
      this.#drop(1);
    }
  }

  /** The next chunk to send, or undefined. */
  next() {
    const chunk = this.#chunks[this.#next];
    if (chunk) this.#next += 1;
    return chunk;
  }

  /** What was sent and lies before `position` will not be needed again. */
  settle(position) {
    let done = 0;
    while (done < this.#next && this.#chunks[done].at + this.#chunks[done].length <= position) {
      done += 1;
    }
    this.#drop(done);
  }

  /**
   * A new connection begins: send again from `needed` on (null: only what was never sent).
   * Returns whether that audio was still here; if not, sending goes on where it stopped.
   */
  rewind(needed) {
    const whole = needed === null || (this.#chunks.length > 0 && this.#chunks[0].at <= needed);
    if (needed !== null && whole) this.#next = 0;
    else this.#drop(this.#next);
    return whole;
  }

  /** Seconds of audio that were dropped unsent since this was last asked. */
  takeLost() {
    const seconds = this.#lost / OUTPUT_RATE;
    this.#lost = 0;
    return seconds;
  }

  #drop(count) {
    this.#chunks.splice(0, count);
    this.#next = Math.max(0, this.#next - count);
  }
}
