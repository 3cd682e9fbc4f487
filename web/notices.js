// The status line, and the notices above the words: a better model, a key.

import { copy, flash } from "./render.js";
import { apiKey } from "./settings.js";

const PASSING_MS = 5_000;
const UNDO_MS = 12_000;

export function element(id) {
  return document.getElementById(id);
}

let timer = 0;

function show(text, tone) {
  clearTimeout(timer);
  element("undo").hidden = true;
  element("status").textContent = text;
  element("status").dataset.tone = tone;
}

export const status = {
  /** Say what is going on; with `then`, say that after a moment. */
  say(text, then = null) {
    show(text, "calm");
    if (then) timer = setTimeout(() => show(then, "calm"), PASSING_MS);
  },

  /** Say what went wrong and what to do. */
  problem(text) {
    show(text, "problem");
  },

  /** Say what was done, and offer for a moment to take it back. */
  offerUndo(text, undo) {
    const before = element("status").textContent;
    show(text, "calm");
    const button = element("undo");
    button.hidden = false;
    button.onclick = () => {
      undo();
      show(before, "calm");
    };
    timer = setTimeout(() => show(before, "calm"), UNDO_MS);
  },
};

/** A sentence for so many seconds of audio that never reached the server ("": none). */
export function lostWords(seconds) {
  if (seconds <= 0) return "";
  const whole = Math.max(1, Math.round(seconds));
  return ` About ${whole} ${whole === 1 ? "second" : "seconds"} of speech were lost.`;
}

/** Say how to get a better model than the built-in one (no command: say nothing). */
export function showHint(command) {
  const notice = element("hint");
  notice.hidden = !command;
  notice.querySelector("code").textContent = command ?? "";
  const button = notice.querySelector("button");
  button.onclick = async () => flash(button, (await copy(command)) ? "Copied" : "Not allowed");
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
