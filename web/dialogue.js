// What was said in a conversation, by whom. Knows nothing of the page or the socket.

import { toItems } from "./items.js";

const MOST_ENTRIES = 1_000;
const MOST_TOLD = 100;

/**
 * Entries have {id, role, text, tail, state, mark, latency}: `role` is user, assistant, tool or
 * note; `state` open, done or failed; `tail` what may follow the text; `mark` what befell it.
 * Tools also have {call, name, arguments, result}, notes {title}.
 *
 * Events: change and remove, with the entry; reset.
 */
export class Dialogue extends EventTarget {
  #entries = new Map();

  get empty() {
    return this.#entries.size === 0;
  }

  get entries() {
    return [...this.#entries.values()];
  }

  get(id) {
    return this.#entries.get(id);
  }

  /** Add an entry unless it is there; what `fields` leave out is empty. */
  add(id, role, fields = {}) {
    if (this.#entries.has(id)) return;
    const blank = { text: "", tail: "", state: "open", mark: "", latency: null, result: null };
    const entry = { id, role, ...blank, ...fields };
    this.#entries.set(id, entry);
    this.#tell("change", entry);
    if (this.#entries.size > MOST_ENTRIES) this.remove(this.#entries.keys().next().value);
  }

  change(id, fields) {
    const entry = this.#entries.get(id);
    if (!entry) return;
    Object.assign(entry, fields);
    this.#tell("change", entry);
  }

  /** Append text that will not change again. */
  append(id, text) {
    const entry = this.#entries.get(id);
    if (!entry) return;
    this.change(id, { text: entry.text + (entry.text ? text : text.trimStart()), tail: "" });
  }

  /** The whole text of an entry; one without words leaves. */
  complete(id, text) {
    if (text.trim() === "") this.remove(id);
    else this.change(id, { text: text.trim(), tail: "", state: "done" });
  }

  /** Nothing more will come for what is open. */
  close(mark) {
    for (const { id, role, text, tail, state } of this.entries) {
      if (state !== "open") continue;
      if (role === "user") this.complete(id, text + tail);
      else this.change(id, { tail: "", state: "done", mark });
    }
  }

  remove(id) {
    const entry = this.#entries.get(id);
    if (!entry) return;
    this.#entries.delete(id);
    this.#tell("remove", entry);
  }

  clear() {
    this.#entries.clear();
    this.#tell("reset");
  }

  /** The latest of it as items of a conversation, to tell to a server that knows none of it. */
  toItems() {
    return this.entries.slice(-MOST_TOLD).flatMap(toItems);
  }

  #tell(type, entry = null) {
    this.dispatchEvent(new CustomEvent(type, { detail: entry }));
  }
}
