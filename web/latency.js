// How long each turn waited for its answer. All times are milliseconds since the turn was over.

/**
 * A turn: {silence, transcript, word, sound, entry}. `silence` is what the server waited before it
 * found the turn over (null: nothing), the next three are null until they have come, and `entry` is
 * the item that answers.
 */
export class Latencies {
  #now;
  #pending = null;
  #items = new Map();
  #responses = new Map();

  constructor(now = () => performance.now()) {
    this.#now = now;
  }

  /** A turn is over; `item` is null while it has no name. */
  begin(item, silence) {
    const turn = { silence, transcript: null, word: null, sound: null, entry: null };
    this.#pending = { turn, zero: this.#now(), named: item !== null };
    if (item !== null) this.#items.set(item, this.#pending);
  }

  /** The turn that had no name is this item. */
  name(item) {
    if (!this.#pending || this.#pending.named) return;
    this.#pending.named = true;
    this.#items.set(item, this.#pending);
  }

  /** What was said is written. Returns the turn, or null. */
  transcribed(item) {
    const found = this.#items.get(item);
    this.#items.delete(item);
    return this.#mark(found, "transcript");
  }

  /** A turn without words has no answer. */
  forget(item) {
    if (this.#items.get(item) === this.#pending) this.#pending = null;
    this.#items.delete(item);
  }

  /** A response begins, to the turn that waits for one. */
  respond(response) {
    if (this.#pending) this.#responses.set(response, this.#pending);
    this.#pending = null;
  }

  /** Something of a response came, `kind` being word or sound. Returns the turn, or null. */
  came(kind, response, entry) {
    const found = this.#responses.get(response);
    if (found) found.turn.entry ??= entry;
    return this.#mark(found, kind);
  }

  /** A response is over; one that called tools only leaves its turn to the next. */
  end(response) {
    const found = this.#responses.get(response);
    this.#responses.delete(response);
    if (found && found.turn.entry === null) this.#pending ??= found;
  }

  reset() {
    this.#pending = null;
    this.#items.clear();
    this.#responses.clear();
  }

  #mark(found, kind) {
    if (!found || found.turn[kind] !== null) return null;
    found.turn[kind] = Math.round(this.#now() - found.zero);
    return found.turn;
  }
}
