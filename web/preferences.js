// How conversations shall go: the settings of the conversation tab, kept in the browser.

import { ask } from "./api.js";
import { OUTPUT_RATE } from "./resampler-worklet.js";
import { conversing, rememberConversing } from "./settings.js";
import { TOOLS, definitions } from "./tools.js";

const NAMED = "named";
const LEAD_MS = 500;
const names = new Intl.DisplayNames(["en"], { type: "language" });

function languageName(tag) {
  try {
    return tag ? names.of(tag) : "";
  } catch {
    return tag;
  }
}

function voiceOption({ id, name, language }) {
  const tongue = languageName(language);
  return new Option(tongue ? `${name} – ${tongue}` : name, id);
}

function group(label, options) {
  const made = document.createElement("optgroup");
  made.label = label;
  made.append(...options);
  return made;
}

/** Event: change, with the name of what changed. */
export class Preferences extends EventTarget {
  #form;

  /** `form` has a control for each setting, of its name. */
  constructor(form) {
    super();
    this.#form = form;
    for (const [name, value] of Object.entries(conversing)) this.#write(name, value);
    this.#list("model", []);
    this.#list("voice", []);
    form.addEventListener("submit", (event) => event.preventDefault());
    form.addEventListener("change", ({ target }) => this.#changed(target));
    this.#toggle();
  }

  /** Whether turns end with a button. */
  get manual() {
    return conversing.turns === "manual";
  }

  /** The language model to ask for. */
  get model() {
    if (conversing.model === NAMED) return conversing.named.trim() || "default";
    return conversing.model || "default";
  }

  /** A line that says how it is set. */
  get summary() {
    const model = this.model === "default" ? "" : this.model;
    return [model, conversing.voice].filter(Boolean).join(" · ");
  }

  /** The session, where speech is transcribed as `transcription` says. */
  session(transcription) {
    const format = { type: "audio/pcm", rate: OUTPUT_RATE };
    const { instructions, speed, voice, confirm } = conversing;
    const input = { format, transcription, turn_detection: this.#turnDetection };
    return {
      type: "realtime",
      output_modalities: ["audio"],
      instructions,
      tools: definitions(Object.keys(TOOLS).filter((name) => conversing[name])),
      tool_choice: "auto",
      audio: { input, output: { format, speed, ...(voice && { voice }) } },
      antiphon: { confirm_speaking_ms: confirm, lead_ms: LEAD_MS },
    };
  }

  /** Ask the server which assistants and voices it has. Throws ApiError. */
  async load() {
    const [models, voices] = await Promise.all(
      ["v1/models", "v1/audio/voices"].map(async (path) => (await ask(path)).json()),
    );
    const chat = models.data.filter(({ antiphon }) => antiphon?.kind === "chat");
    this.#list("model", chat.map(({ id }) => new Option(id)));
    const by = new Map();
    for (const voice of voices.data) {
      by.set(voice.model, [...(by.get(voice.model) ?? []), voiceOption(voice)]);
    }
    const only = by.size === 1;
    this.#list("voice", [...by].flatMap(([label, all]) => (only ? all : [group(label, all)])));
    this.#toggle();
  }

  get #turnDetection() {
    if (this.manual) return null;
    const answers = { create_response: true, interrupt_response: true };
    const { turns, silence, eagerness } = conversing;
    if (turns === "semantic_vad") return { type: turns, eagerness, ...answers };
    return { type: "server_vad", silence_duration_ms: silence, ...answers };
  }

  // What was chosen stays a choice where the server does not list it.
  #list(name, options) {
    const select = this.#form.elements[name];
    const usual = new Option("The server's choice", "");
    const other = name === "model" ? [new Option("Another…", NAMED)] : [];
    select.replaceChildren(usual, ...options, ...other);
    const chosen = conversing[name];
    if (![...select.options].some(({ value }) => value === chosen)) {
      select.append(new Option(chosen, chosen));
    }
    select.value = chosen;
  }

  #write(name, value) {
    const control = this.#form.elements[name];
    if (!control) return;
    if (control.type === "checkbox") control.checked = value;
    else control.value = value;
  }

  #changed(control) {
    if (!control.reportValidity()) return;
    const read = { checkbox: () => control.checked, number: () => control.valueAsNumber };
    rememberConversing(control.name, (read[control.type] ?? (() => control.value))());
    this.#toggle();
    this.dispatchEvent(new CustomEvent("change", { detail: control.name }));
  }

  #toggle() {
    for (const part of this.#form.querySelectorAll("[data-when]")) {
      const [name, value] = part.dataset.when.split("=");
      part.hidden = conversing[name] !== value;
    }
  }
}
