// The conversation on the page: a row for each turn, tool call and note, in text nodes only.

import { announce } from "./render.js";

const WHO = { user: "You", assistant: "Answer", tool: "Tool", note: "Note" };
const ALOUD = new Set(["user", "assistant"]);
const EXPLANATION =
  "Counted from when the server found your turn over (or you sent it): until your words were " +
  "transcribed, until the first token of the answer, and until its first sound arrived. Before " +
  "that, the server waited through the silence that ends a turn, which is given apart.";

const template = document.querySelector("#turn-template");

/** A turn's latency in words. */
export function describe({ silence, transcript, word, sound }) {
  const parts = [
    ["transcript", transcript],
    ["first token", word],
    ["first audio", sound],
  ];
  const line = parts
    .filter(([, ms]) => ms !== null)
    .map(([name, ms]) => `${name} ${ms} ms`)
    .join(" → ");
  return silence === null ? line : `${line} (+ ${silence} ms VAD silence)`;
}

function toolText({ name, arguments: given, result }) {
  return `${name}(${given === "{}" ? "" : given})${result === null ? " …" : ` → ${result}`}`;
}

export class ChatView {
  #list;
  #rows = new Map();

  constructor(dialogue, list) {
    this.#list = list;
    dialogue.addEventListener("change", ({ detail }) => this.#show(detail));
    dialogue.addEventListener("remove", ({ detail }) => this.#remove(detail.id));
    dialogue.addEventListener("reset", () => {
      this.#rows.clear();
      list.replaceChildren();
    });
  }

  #show(entry) {
    const { role, text, tail, state, mark, latency } = entry;
    const row = this.#row(entry);
    const before = row.element.dataset.state;
    row.title.textContent = entry.title ?? "";
    row.settled.textContent = role === "tool" ? toolText(entry) : text;
    row.tail.textContent = role !== "tool" && state === "open" && !text && !tail ? "…" : tail;
    row.mark.textContent = mark;
    row.latency.textContent = latency ? describe(latency) : "";
    row.element.dataset.state = state;
    if (state === "done" && before === "open" && ALOUD.has(role) && text) {
      announce(`${WHO[role]}: ${text}`);
    }
  }

  #row({ id, role }) {
    const known = this.#rows.get(id);
    if (known) return known;
    const element = template.content.firstElementChild.cloneNode(true);
    const row = { element };
    for (const name of ["title", "settled", "tail", "mark", "latency"]) {
      row[name] = element.querySelector(`.${name}`);
    }
    element.dataset.role = role;
    element.querySelector(".who").textContent = WHO[role];
    row.latency.title = EXPLANATION;
    this.#rows.set(id, row);
    this.#list.append(element);
    return row;
  }

  #remove(id) {
    this.#rows.get(id)?.element.remove();
    this.#rows.delete(id);
  }
}
