// What both tabs need of the server: its models, and a key where it asks for one.

import { ask } from "./api.js";
import { Choices } from "./choices.js";
import { askForKey, element, showHint, status } from "./notices.js";

const RETRY_MS = 5_000;

export const choices = new Choices({
  model: element("model"),
  language: element("language"),
  microphone: element("microphone"),
});

/** Learn what the server can do. */
export async function welcome() {
  try {
    const health = await (await ask("health")).json();
    showHint(health.transcription?.hint);
    await choices.load(health.transcription?.model);
  } catch (error) {
    if (error.status === 401) unauthorized(error.message);
    else status.problem(error.message);
    if (error.status === 0) setTimeout(welcome, RETRY_MS);
  }
}

/** Ask for a key, then `goOn`. */
export function unauthorized(message, goOn = () => {}) {
  status.problem(message);
  askForKey(async () => {
    await welcome();
    goOn();
  });
}

/** Why a socket was refused, which it cannot tell and a request can: {message, key}, or null. */
export async function lookInto() {
  try {
    await ask("v1/models");
  } catch (error) {
    if (error.status === 401 || error.status === 403) {
      return { message: error.message, key: error.status === 401 };
    }
  }
  return null;
}
