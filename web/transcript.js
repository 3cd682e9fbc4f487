// What was heard in one session or file: utterances with times in seconds, and the rules by which
// their text changes. Knows nothing of the page or the socket.

const MOST_UTTERANCES = 5_000;
const UNSPACED = /[\p{Script=Han}\p{Script=Hiragana}\p{Script=Katakana}\p{Script=Thai}\p{P}\s]/u;

/** Unsettled text as it follows settled text, with the space between them that words need. */
function joined(settled, tail) {
  if (!settled || !tail || /\s$/u.test(settled)) return tail;
  return UNSPACED.test([...tail][0]) ? tail : ` ${tail}`;
}

export class Transcript extends EventTarget {
  #utterances = new Map();
  #forgotten = new Set();
  #numbered = 0;

  constructor(title) {
    super();
    this.title = title;
    /** How many utterances were let go to stay within bounds. */
    this.dropped = 0;
  }

  get utterances() {
    return [...this.#utterances.values()];
  }

  get empty() {
    return this.#utterances.size === 0;
  }

  /** Somebody began to speak. An utterance that was cleared away is not begun again. */
  begin(id, start) {
    if (this.#utterances.has(id) || this.#forgotten.has(id)) return;
    this.#add({ id, start, end: null, settled: "", tail: "", state: "open" });
  }

  stop(id, end) {
    this.#change(id, { end });
  }

  /** Append text that will not change again. */
  settle(id, text) {
    const utterance = this.#utterances.get(id);
    if (utterance?.state !== "open") return;
    const { settled, tail } = utterance;
    const [said, supposed] = [text.trim(), tail.trimStart()];
    this.#change(id, {
      settled: settled + (settled ? text : text.trimStart()),
      tail: supposed.startsWith(said) ? supposed.slice(said.length) : "",
    });
  }

  /** Replace what is believed to follow the settled text. */
  suppose(id, text) {
    const utterance = this.#utterances.get(id);
    if (utterance?.state === "open") this.#change(id, { tail: joined(utterance.settled, text) });
  }

  /** The whole text of an utterance; one without words leaves. */
  complete(id, text) {
    if (text.trim() === "") this.remove(id);
    else this.#change(id, { settled: text.trim(), tail: "", state: "done" });
  }

  fail(id, message) {
    this.#change(id, { tail: "", state: "failed", message });
  }

  /** Nothing more will come for this utterance: what is there stays. */
  cut(id) {
    const utterance = this.#utterances.get(id);
    if (utterance) this.complete(id, utterance.settled + utterance.tail);
  }

  /** A finished utterance, as a file's segments arrive. */
  append(start, end, text) {
    if (text.trim() === "") return;
    this.#numbered += 1;
    const id = `${this.title}#${this.#numbered}`;
    this.#add({ id, start, end, settled: text.trim(), tail: "", state: "done" });
  }

  remove(id) {
    const utterance = this.#utterances.get(id);
    if (!utterance) return;
    this.#utterances.delete(id);
    this.#tell("remove", utterance);
  }

  /** Forget everything; returns what `restore` needs to bring it back. */
  clear() {
    const saved = this.toJSON();
    this.#forgotten = new Set(this.#utterances.keys());
    this.#utterances.clear();
    this.#tell("reset");
    return saved;
  }

  /** Bring saved utterances back before those that are here, which move `later` seconds on. */
  restore(saved, later = 0) {
    const since = this.utterances;
    this.#utterances.clear();
    for (const [start, end, text] of saved) this.append(start, end, text);
    for (const utterance of since) {
      utterance.start += later;
      if (utterance.end !== null) utterance.end += later;
      this.#utterances.set(utterance.id, utterance);
    }
    this.#tell("reset");
  }

  /** The utterances with text, as [start, end, text]. */
  toJSON() {
    return this.utterances
      .map(({ start, end, settled, tail }) => [start, end, (settled + tail).trim()])
      .filter(([, , text]) => text !== "");
  }

  #add(utterance) {
    this.#utterances.set(utterance.id, utterance);
    this.#tell("change", utterance);
    if (this.#utterances.size > MOST_UTTERANCES) {
      this.dropped += 1;
      this.remove(this.#utterances.keys().next().value);
    }
  }

  #change(id, changes) {
    const utterance = this.#utterances.get(id);
    if (!utterance) return;
    Object.assign(utterance, changes);
    this.#tell("change", utterance);
  }

  #tell(type, utterance = null) {
    this.dispatchEvent(new CustomEvent(type, { detail: utterance }));
  }
}
