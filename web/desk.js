// Files that are dropped on the page or chosen: one after the other, each in its own section.

import { clock } from "./export.js";
import { transcribe } from "./files.js";
import { element } from "./notices.js";
import { TranscriptView } from "./render.js";
import { Transcript } from "./transcript.js";

const MOST_FILES = 20;

/** Event: change, when there is something to store. */
export class FileDesk extends EventTarget {
  #place;
  #choices;
  #unauthorized;
  #entries = [];
  #busy = false;

  /** Sections go to the front of `place`; `unauthorized(message)` is told when a key is needed. */
  constructor(place, choices, unauthorized) {
    super();
    this.#place = place;
    this.#choices = choices;
    this.#unauthorized = unauthorized;
    this.#acceptDrops();
    element("open").addEventListener("click", () => element("files").click());
    element("files").addEventListener("change", ({ target }) => {
      this.#take([...target.files]);
      target.value = "";
    });
  }

  get empty() {
    return this.#entries.length === 0;
  }

  toJSON() {
    return this.#entries.map(({ transcript }) => ({ title: transcript.title, rows: transcript }));
  }

  restore(saved) {
    for (const { title, rows } of saved) this.#entry(title).transcript.restore(rows);
  }

  #acceptDrops() {
    const carriesFiles = (event) => event.dataTransfer?.types.includes("Files");
    const hint = (shown) => {
      element("drop").hidden = !shown;
    };
    globalThis.addEventListener("dragover", (event) => {
      if (!carriesFiles(event)) return;
      event.preventDefault();
      hint(true);
    });
    globalThis.addEventListener("dragleave", (event) => event.relatedTarget ?? hint(false));
    globalThis.addEventListener("drop", (event) => {
      if (!carriesFiles(event)) return;
      event.preventDefault();
      hint(false);
      this.#take([...event.dataTransfer.files]);
    });
  }

  #take(files) {
    for (const file of files) {
      const entry = this.#entry(file.name);
      entry.file = file;
      entry.view.note("Waiting…", "busy");
    }
    this.#changed();
    void this.#work();
  }

  #entry(title) {
    const transcript = new Transcript(title);
    const view = new TranscriptView(transcript, { remove: "Remove" });
    const entry = { transcript, view, file: null, stop: new AbortController() };
    view.addEventListener("removed", () => this.#remove(entry));
    this.#place.insertBefore(view.element, this.#place.lastElementChild);
    this.#entries.push(entry);
    this.#makeRoom(entry);
    return entry;
  }

  // What still waits for its words is not let go.
  #makeRoom(newest) {
    while (this.#entries.length > MOST_FILES) {
      const done = this.#entries.find((entry) => entry.file === null && entry !== newest);
      if (!done) return;
      this.#remove(done);
    }
  }

  #remove(entry) {
    entry.stop.abort();
    entry.view.element.remove();
    this.#entries = this.#entries.filter((other) => other !== entry);
    this.#changed();
  }

  async #work() {
    if (this.#busy) return;
    this.#busy = true;
    for (;;) {
      const entry = this.#entries.find(({ file }) => file !== null);
      if (!entry) break;
      await this.#transcribe(entry);
      entry.file = null;
      this.#changed();
    }
    this.#busy = false;
  }

  async #transcribe({ transcript, view, file, stop }) {
    view.element.scrollIntoView({ block: "nearest" });
    view.note("Sending…", "busy");
    try {
      for await (const segment of transcribe(file, this.#choices.transcription, stop.signal)) {
        transcript.append(segment.start, segment.end, segment.text);
        view.note(`Heard up to ${clock(segment.end ?? segment.start)}`, "busy");
        this.#changed();
      }
      view.note(transcript.empty ? "No speech was heard in this file." : "");
    } catch (error) {
      if (error.name === "AbortError") return;
      view.note(error.message, "problem");
      if (error.status === 401) this.#unauthorized(error.message);
    }
  }

  #changed() {
    this.dispatchEvent(new CustomEvent("change"));
  }
}
