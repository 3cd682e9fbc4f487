// The microphone's rate in, 24 kHz 16-bit PCM out, in chunks of 100 ms.
//
// Runs on the audio thread. Chunks go out over the node's port as transferred ArrayBuffers; any
// message to the port asks for what is left, which is answered with the last chunk and `null`.

export const OUTPUT_RATE = 24_000;
const CHUNK_SAMPLES = OUTPUT_RATE / 10;
const LARGEST_BLOCK = 4_096;
const ZERO_CROSSINGS = 32;
const PASSBAND = 0.92;
const KAISER_BETA = 8;

function greatestCommonDivisor(a, b) {
  return b === 0 ? a : greatestCommonDivisor(b, a % b);
}

// Modified Bessel function of the first kind, order zero.
function bessel(x) {
  let sum = 1;
  let term = 1;
  for (let k = 1; term > sum * 1e-12; k += 1) {
    term *= (x / (2 * k)) ** 2;
    sum += term;
  }
  return sum;
}

function kernel(x, cutoff, half) {
  if (Math.abs(x) >= half) return 0;
  const angle = Math.PI * cutoff * x;
  const sinc = angle === 0 ? 1 : Math.sin(angle) / angle;
  return sinc * bessel(KAISER_BETA * Math.sqrt(1 - (x / half) ** 2));
}

/**
 * A polyphase windowed-sinc resampler whose phase is an exact fraction carried from block to
 * block, so that its clock never drifts from the input's.
 */
export class Resampler {
  #step;
  #phases;
  #half;
  #table;
  #held;
  #count;
  #centre;
  #phase = 0;

  constructor(inputRate, outputRate = OUTPUT_RATE) {
    const divisor = greatestCommonDivisor(inputRate, outputRate);
    this.#step = inputRate / divisor;
    this.#phases = outputRate / divisor;
    const cutoff = PASSBAND * Math.min(1, outputRate / inputRate);
    this.#half = Math.ceil(ZERO_CROSSINGS / cutoff);
    this.#table = this.#design(cutoff);
    this.#held = new Float32Array(2 * this.#half + LARGEST_BLOCK);
    this.#centre = this.#half - 1;
    this.#count = this.#half - 1;
  }

  #design(cutoff) {
    const taps = 2 * this.#half;
    const table = new Float32Array(this.#phases * taps);
    for (let phase = 0; phase < this.#phases; phase += 1) {
      const row = table.subarray(phase * taps, (phase + 1) * taps);
      let sum = 0;
      for (let k = 0; k < taps; k += 1) {
        row[k] = kernel(k - this.#half + 1 - phase / this.#phases, cutoff, this.#half);
        sum += row[k];
      }
      for (let k = 0; k < taps; k += 1) row[k] /= sum;
    }
    return table;
  }

  /** The most samples one block of `length` can give. */
  room(length) {
    return Math.ceil((length * this.#phases) / this.#step) + 1;
  }

  /** Resample one block of at most 4096 samples into `output`; returns how many were written. */
  process(input, output) {
    this.#held.set(input, this.#count);
    this.#count += input.length;
    const taps = 2 * this.#half;
    let written = 0;
    while (this.#centre + this.#half < this.#count) {
      const first = this.#centre - this.#half + 1;
      const row = this.#phase * taps;
      let sum = 0;
      for (let k = 0; k < taps; k += 1) {
        sum += this.#held[first + k] * this.#table[row + k];
      }
      output[written] = sum;
      written += 1;
      const ahead = this.#phase + this.#step;
      this.#phase = ahead % this.#phases;
      this.#centre += (ahead - this.#phase) / this.#phases;
    }
    this.#forget();
    return written;
  }

  // What lies before the next output's reach is not needed again.
  #forget() {
    const unused = Math.min(this.#centre - this.#half + 1, this.#count);
    this.#held.copyWithin(0, unused, this.#count);
    this.#count -= unused;
    this.#centre -= unused;
  }

  /** The samples still inside, as if silence followed; N samples give ceil(N · out / in) in all. */
  flush(output) {
    return this.process(new Float32Array(this.#half), output);
  }

  /** The length `flush` may need. */
  get tail() {
    return this.room(this.#half);
  }
}

class ResamplerProcessor extends (globalThis.AudioWorkletProcessor ?? Object) {
  #resampler = new Resampler(Math.round(globalThis.sampleRate));
  #output = new Float32Array(this.#resampler.room(LARGEST_BLOCK) + this.#resampler.tail);
  #chunk = new Int16Array(CHUNK_SAMPLES);
  #filled = 0;
  #running = true;

  constructor() {
    super();
    this.port.onmessage = () => this.#finish();
  }

  process(inputs) {
    const [channel] = inputs[0];
    if (this.#running && channel) this.#take(this.#resampler.process(channel, this.#output));
    return this.#running;
  }

  #take(count) {
    for (let i = 0; i < count; i += 1) {
      const sample = Math.max(-1, Math.min(1, this.#output[i]));
      this.#chunk[this.#filled] = Math.round(sample * 32_767);
      this.#filled += 1;
      if (this.#filled === CHUNK_SAMPLES) this.#emit();
    }
  }

  #emit() {
    const { buffer } = this.#chunk.slice(0, this.#filled);
    this.port.postMessage(buffer, [buffer]);
    this.#filled = 0;
  }

  #finish() {
    if (!this.#running) return;
    this.#running = false;
    this.#take(this.#resampler.flush(this.#output));
    if (this.#filled > 0) this.#emit();
    this.port.postMessage(null);
  }
}

if (globalThis.registerProcessor) globalThis.registerProcessor("resampler", ResamplerProcessor);
