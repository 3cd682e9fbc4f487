// Status lines, and the notices above the words: a better model, a missing one, a key.

import { copy, flash } from "./render.js";
import { apiKey } from "./settings.js";

const PASSING_MS = 5_000;
const UNDO_MS = 12_000;

export function element(id) {
  return document.getElementById(id);
}

/** A status line in an element; what can be undone has a button there. */
export class StatusLine {
  #line;
  #button;
  #timer = 0;

  constructor(line, button = null) {
    this.#line = line;
    this.#button = button;
  }

  /** Say what is going on; with `then`, say that after a moment. */
  say(text, then = null) {
    this.#show(text, "calm");
    if (then !== null) this.#timer = setTimeout(() => this.#show(then, "calm"), PASSING_MS);
  }

  /** Say what went wrong and what to do. */
  problem(text) {
    this.#show(text, "problem");
  }

  /** Say what was done, and offer for a moment to take it back. */
  offerUndo(text, undo) {
    const before = this.#line.textContent;
    this.#show(text, "calm");
    this.#button.hidden = false;
    this.#button.onclick = () => {
      undo();
      this.#show(before, "calm");
    };
    this.#timer = setTimeout(() => this.#show(before, "calm"), UNDO_MS);
  }

  #show(text, tone) {
    clearTimeout(this.#timer);
    if (this.#button) this.#button.hidden = true;
    this.#line.textContent = text;
    this.#line.dataset.tone = tone;
  }
}

export const status = new StatusLine(element("status"), element("undo"));

/** A sentence for so many seconds of audio that never reached the server ("": none). */
export function lostWords(seconds) {
  if (seconds <= 0) return "";
  const whole = Math.max(1, Math.round(seconds));
  return ` About ${whole} ${whole === 1 ? "second" : "seconds"} of speech were lost.`;
}

function showCommand(notice, command) {
  notice.querySelector("code").textContent = command;
  const button = notice.querySelector("button");
  button.onclick = async () => flash(button, (await copy(command)) ? "Copied" : "Not allowed");
}

/** Say how to get a better model than the built-in one (no command: say nothing). */
export function showHint(command) {
  element("hint").hidden = !command;
  showCommand(element("hint"), command ?? "");
}

/** Say what the server lacks for conversations, with the command in it to copy (null: nothing). */
export function showLack(message) {
  const notice = element("lack");
  notice.hidden = !message;
  if (message) notice.scrollIntoView({ block: "nearest" });
  const [command] = /antiphon pull [^\s,;`'"]+/u.exec(message ?? "") ?? [""];
  const [before] = (message ?? "").split(/[\s`'"]*antiphon pull/u);
  notice.querySelector("span").textContent = command ? before : message;
  notice.querySelector("code").hidden = notice.querySelector("button").hidden = !command;
  showCommand(notice, command);
}

/** Ask for the server's key, keep it as the user likes, then go on. */
export function askForKey(goOn) {
  const form = element("key");
  form.hidden = false;
  element("key-value").focus();
  form.onsubmit = (event) => {
    event.preventDefault();
    apiKey.write(element("key-value").value.trim(), element("key-always").checked);
    element("key-value").value = "";
    form.hidden = true;
    goOn();
  };
}
