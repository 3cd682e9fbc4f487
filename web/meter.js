// The level meter: square notes on a four-line staff, as chant is written. Loudness is height. A
// second voice is written in red.

const NOTE = 6;
const STEP = 9;
const TICK_MS = 70;
const LINES = 4;
const FLOOR_DB = -54;
const QUIET = 0.12;
const INKS = ["--ink", "--rubric"];

/** Loudness from RMS: 0 at -54 dBFS and below, 1 at -6 dBFS and above. */
export function loudness(rms) {
  const db = 20 * Math.log10(Math.max(rms, 1e-6));
  return Math.max(0, Math.min(1, (db - FLOOR_DB) / (-6 - FLOOR_DB)));
}

export class Meter {
  #canvas;
  #brush;
  #notes = [];
  #voices = [];
  #last = 0;
  #running = false;
  #calm = matchMedia("(prefers-reduced-motion: reduce)");

  constructor(canvas) {
    this.#canvas = canvas;
    this.#brush = canvas.getContext("2d");
    new ResizeObserver(() => this.#fit()).observe(canvas);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.#draw(0));
  }

  /** Show these voices, each an RMS value when called, until stopped. */
  start(...voices) {
    this.#voices = voices;
    this.#running = true;
    this.#last = performance.now();
    requestAnimationFrame((now) => this.#frame(now));
  }

  stop() {
    this.#running = false;
    this.#notes = [];
    this.#canvas.setAttribute("aria-valuenow", "0");
    this.#draw(0);
  }

  #fit() {
    const { clientWidth, clientHeight } = this.#canvas;
    const scale = globalThis.devicePixelRatio;
    this.#canvas.width = Math.round(clientWidth * scale);
    this.#canvas.height = Math.round(clientHeight * scale);
    this.#brush.setTransform(scale, 0, 0, scale, 0, 0);
    this.#draw(0);
  }

  #frame(now) {
    if (!this.#running) return;
    if (now - this.#last >= TICK_MS) {
      this.#last = now - ((now - this.#last) % TICK_MS);
      const levels = this.#voices.map((voice) => loudness(voice()));
      const level = Math.max(...levels);
      this.#notes.push(levels);
      this.#notes.splice(0, this.#notes.length - Math.ceil(this.#canvas.clientWidth / STEP) - 2);
      this.#canvas.setAttribute("aria-valuenow", String(Math.round(level * 100)));
    }
    this.#draw((now - this.#last) / TICK_MS);
    requestAnimationFrame((next) => this.#frame(next));
  }

  #draw(fraction) {
    const { clientWidth: width, clientHeight: height } = this.#canvas;
    const style = getComputedStyle(this.#canvas);
    this.#brush.clearRect(0, 0, width, height);
    this.#brush.fillStyle = style.getPropertyValue("--staff");
    const gap = (height - NOTE - 2) / (LINES - 1);
    for (let line = 0; line < LINES; line += 1) {
      this.#brush.fillRect(0, Math.round(NOTE / 2 + line * gap), width, 1);
    }
    INKS.forEach((ink, voice) => {
      this.#brush.fillStyle = style.getPropertyValue(ink);
      if (this.#calm.matches) this.#drawStill(voice, width, height);
      else this.#drawScore(voice, width, height, fraction);
    });
  }

  // The newest note enters at the right; a stem joins notes that leap.
  #drawScore(voice, width, height, fraction) {
    let before = null;
    this.#notes.forEach((levels, index) => {
      const level = levels[voice] ?? 0;
      const x = width - (this.#notes.length - index - 1 + fraction) * STEP - NOTE;
      const y = this.#height(level, height);
      if (level >= QUIET) {
        this.#brush.fillRect(x, y, NOTE, NOTE);
        if (before !== null && Math.abs(before - y) > NOTE) {
          this.#brush.fillRect(x, Math.min(before, y) + NOTE / 2, 1, Math.abs(before - y));
        }
      }
      before = level >= QUIET ? y : null;
    });
  }

  // Without motion: a row of notes that fills from the left.
  #drawStill(voice, width, height) {
    const level = this.#notes.at(-1)?.[voice] ?? 0;
    const filled = Math.round(level * (width / STEP));
    for (let i = 0; i < filled; i += 1) {
      this.#brush.fillRect(i * STEP, (height - NOTE) / 2, NOTE, NOTE);
    }
  }

  // Notes sit on the lines and in the spaces between and around them.
  #height(level, height) {
    const places = 2 * LINES - 1;
    const place = Math.round(level * (places - 1));
    return (height - NOTE - 1) * (1 - place / (places - 1));
  }
}
