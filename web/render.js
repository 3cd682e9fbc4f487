// Transcripts on the page: a section for each, a row for each utterance, in text nodes only.

import { clock, save, toSrt, toText } from "./export.js";

const NEAR_END_PX = 160;

const templates = {
  section: document.querySelector("#section-template"),
  row: document.querySelector("#row-template"),
};

function atEnd() {
  const { scrollHeight } = document.documentElement;
  return scrollHeight - globalThis.innerHeight - globalThis.scrollY < NEAR_END_PX;
}

// Whoever reads the end goes on reading it as the page grows.
let following = true;
globalThis.addEventListener("scroll", () => (following = atEnd()), { passive: true });
const growth = new ResizeObserver(() => {
  if (following) globalThis.scrollTo(0, document.documentElement.scrollHeight);
});
for (const words of document.querySelectorAll("#transcripts, #dialogue")) growth.observe(words);

/** Tell screen readers, when they have nothing else to say. */
export function announce(text) {
  const line = document.createElement("p");
  line.textContent = text;
  const region = document.querySelector("#announcer");
  region.append(line);
  while (region.childElementCount > 20) region.firstElementChild.remove();
}

/** `removed`: the user asked for the transcript to go away (event of that name). */
export class TranscriptView extends EventTarget {
  #transcript;
  #rows = new Map();
  #list;
  #note;
  #progress;

  constructor(transcript, { remove }) {
    super();
    this.#transcript = transcript;
    this.element = templates.section.content.firstElementChild.cloneNode(true);
    this.#list = this.element.querySelector("ol");
    this.#note = this.element.querySelector(".note");
    this.#progress = this.element.querySelector("progress");
    this.element.querySelector("h2").textContent = transcript.title;
    this.#wire(remove);
    transcript.addEventListener("change", ({ detail }) => this.#show(detail));
    transcript.addEventListener("remove", ({ detail }) => this.#remove(detail.id));
    transcript.addEventListener("reset", () => this.#reset());
    this.#reset();
  }

  #wire(remove) {
    const rows = () => this.#transcript.toJSON();
    // A player finds the subtitles of talk.mp4 in talk.srt.
    const stem = this.#transcript.title.replace(/(?<=.)\.[a-z0-9]{1,5}$/iu, "");
    const name = stem.replace(/[^\p{L}\p{N}.-]+/gu, "-");
    const actions = {
      copy: async (button) => {
        const done = await copy(toText(rows()));
        flash(button, done ? "Copied" : "Not allowed");
      },
      txt: () => save(`${name}.txt`, "text/plain", toText(rows())),
      srt: () => save(`${name}.srt`, "application/x-subrip", toSrt(rows())),
      remove: () => this.dispatchEvent(new CustomEvent("removed")),
    };
    for (const [action, run] of Object.entries(actions)) {
      const button = this.element.querySelector(`[data-action=${action}]`);
      if (action === "remove") button.textContent = remove;
      button.addEventListener("click", () => run(button));
    }
  }

  /** A line under the heading; `state` is "busy" (more is to come), "problem" or neither. */
  note(text, state = "") {
    this.#note.textContent = text;
    this.#note.dataset.state = state;
    this.#note.hidden = text === "";
    this.#progress.hidden = state !== "busy";
  }

  #reset() {
    this.#rows.clear();
    this.#list.replaceChildren();
    for (const utterance of this.#transcript.utterances) this.#show(utterance, false);
    this.#toggle();
  }

  #show(utterance, aloud = true) {
    const row = this.#row(utterance);
    const { start, settled, tail, state, message } = utterance;
    row.time.textContent = clock(start);
    row.time.dateTime = `PT${Math.max(0, start).toFixed(2)}S`;
    row.settled.textContent = settled;
    row.tail.textContent = state === "open" && !settled && !tail ? "…" : tail;
    row.failure.textContent = state === "failed" ? `Not transcribed: ${message}` : "";
    if (aloud && state === "done" && row.element.dataset.state !== "done") announce(settled);
    row.element.dataset.state = state;
    this.#toggle();
  }

  #row({ id }) {
    const known = this.#rows.get(id);
    if (known) return known;
    const element = templates.row.content.firstElementChild.cloneNode(true);
    const part = (name) => element.querySelector(`.${name}`);
    const row = { element, time: part("time"), settled: part("settled") };
    Object.assign(row, { tail: part("tail"), failure: part("failure") });
    this.#rows.set(id, row);
    this.#list.append(element);
    return row;
  }

  #remove(id) {
    this.#rows.get(id)?.element.remove();
    this.#rows.delete(id);
    this.#toggle();
  }

  #toggle() {
    this.element.dataset.empty = String(this.#transcript.empty);
    const { dropped } = this.#transcript;
    if (dropped) this.note(`The first ${dropped} utterances are gone: only the latest are kept.`);
  }
}

/** Copy to the clipboard; returns whether the browser allowed it. */
export async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    return copyBySelection(text);
  }
}

// A page on plain http has no clipboard; a selected text area still works.
function copyBySelection(text) {
  const area = document.createElement("textarea");
  area.value = text;
  area.className = "off-screen";
  document.body.append(area);
  area.select();
  const done = document.execCommand("copy");
  area.remove();
  return done;
}

/** Show `text` on a button for a moment. */
export function flash(button, text) {
  button.dataset.label ??= button.textContent;
  button.textContent = text;
  clearTimeout(Number(button.dataset.timer));
  button.dataset.timer = setTimeout(() => {
    button.textContent = button.dataset.label;
  }, 1_600);
}
