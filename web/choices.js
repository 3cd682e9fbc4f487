// The choices: model, language, microphone. Each is disabled while there is nothing to choose.

import { ask } from "./api.js";
import { microphones } from "./microphone.js";
import { remember, settings } from "./settings.js";

// What a multilingual Whisper model knows; other models list their own.
const LANGUAGES =
  "af am ar as az ba be bg bn bo br bs ca cs cy da de el en es et eu fa fi fo fr gl gu ha haw he " +
  "hi hr ht hu hy id is it ja jw ka kk km kn ko la lb ln lo lt lv mg mi mk ml mn mr ms mt my ne " +
  "nl nn no oc pa pl ps pt ro ru sa sd si sk sl sn so sq sr su sv sw ta te tg th tk tl tr tt uk " +
  "ur uz vi yi yo yue zh";

const names = new Intl.DisplayNames(["en"], { type: "language" });

function languageName(code) {
  return names.of(code === "jw" ? "jv" : code);
}

function fill(select, options, chosen) {
  const made = options.map(({ value, label }) => new Option(label, value, false, value === chosen));
  select.replaceChildren(...made);
  select.disabled = options.length < 2;
}

export class Choices extends EventTarget {
  #selects;
  #models = [];

  /** `selects` are {model, language, microphone}; `change` tells that a session should restart. */
  constructor(selects) {
    super();
    this.#selects = selects;
    for (const [name, select] of Object.entries(selects)) {
      select.addEventListener("change", () => this.#chosen(name, select.value));
    }
    navigator.mediaDevices?.addEventListener("devicechange", () => this.showMicrophones());
    fill(selects.microphone, [{ value: "", label: "Default" }], "");
  }

  /** The model and language to ask for; absent is what the server shall choose. */
  get transcription() {
    const [model, language] = [this.#selects.model.value, this.#selects.language.value];
    return { ...(model && { model }), ...(language && { language }) };
  }

  get microphone() {
    return this.#selects.microphone.value;
  }

  /** Ask the server which models it has. Throws ApiError. */
  async load(preferred) {
    const { data } = await (await ask("v1/models")).json();
    this.#models = data.filter((model) => model.antiphon?.kind === "transcription");
    const known = (id) => this.#models.some((model) => model.id === id);
    const chosen = [settings.model, preferred].find(known) ?? this.#models[0]?.id;
    const options = this.#models.map(({ id }) => ({ value: id, label: id }));
    fill(this.#selects.model, options, chosen);
    this.#showLanguages();
  }

  #showLanguages() {
    const model = this.#models.find(({ id }) => id === this.#selects.model.value);
    const codes = model?.antiphon.languages ?? LANGUAGES.split(" ");
    const options = codes
      .map((code) => ({ value: code, label: languageName(code) }))
      .sort((a, b) => a.label.localeCompare(b.label, "en"));
    if (options.length !== 1) options.unshift({ value: "", label: "Detect" });
    fill(this.#selects.language, options, settings.language);
  }

  /** List the microphones; their names are known once one was allowed. */
  async showMicrophones() {
    const options = (await microphones()).map(({ id, label }) => ({ value: id, label }));
    if (!options.some(({ value }) => value === "default")) {
      options.unshift({ value: "", label: "Default" });
    }
    fill(this.#selects.microphone, options, settings.microphone);
  }

  #chosen(name, value) {
    remember(name, value);
    if (name === "model") this.#showLanguages();
    this.dispatchEvent(new CustomEvent("change", { detail: name }));
  }
}
