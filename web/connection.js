// A Realtime WebSocket that comes back: dials, greets, backs off and dials again.

import { socketProtocols } from "./api.js";

const BACKOFF_MS = [500, 1_000, 2_000, 4_000, 8_000];
const GREETING_MS = 10_000;
const CONGESTED_BYTES = 4 * 2 ** 20;
const NORMAL = 1000;
const BAD_KEY = 3000;
const REFUSALS = new Set([BAD_KEY, 4000, 4001, 4003, 4004]);
const CONFIGURE = "configure";

/**
 * Events: connecting, ready, event (a server event), ended (well), dropped {message}, and
 * refused {message, code, key}, where `key` says that it is for want of a good key.
 */
export class Connection extends EventTarget {
  #address;
  #configuration;
  #socket = null;
  #ready = false;
  #wanted = false;
  #attempt = 0;
  #timer = 0;
  #complaint = null;

  /** Nothing is under way: a server that now ends the connection has good reason to. */
  resting = true;

  /**
   * When a connection begins, `address` gives its URL and `configuration` the session object to
   * ask for.
   */
  constructor(address, configuration) {
    super();
    this.#address = address;
    this.#configuration = configuration;
    globalThis.addEventListener("online", () => this.#timer && this.#dial());
  }

  /** The server has greeted: events can be sent. */
  get ready() {
    return this.#ready;
  }

  /** More waits to be sent than the network takes. */
  get congested() {
    return this.#socket.bufferedAmount >= CONGESTED_BYTES;
  }

  /** Connect unless connected, and stay so until closed. */
  open() {
    this.#wanted = true;
    if (!this.#socket) this.#dial();
  }

  close() {
    this.#wanted = false;
    this.#hangUp();
  }

  /** Leave for a new connection, which is configured anew. */
  restart() {
    if (!this.#socket) return;
    this.#hangUp();
    this.#dial();
  }

  send(event) {
    this.#socket.send(JSON.stringify(event));
  }

  #dial() {
    this.#hangUp();
    this.#complaint = null;
    let socket;
    try {
      socket = new WebSocket(this.#address(), socketProtocols());
    } catch {
      this.#refuse({ message: "That key has characters that a key cannot have." }, true);
      return;
    }
    this.#socket = socket;
    const mine = (handle) => (event) => socket === this.#socket && handle(event);
    socket.onmessage = mine(({ data }) => this.#receive(JSON.parse(data)));
    socket.onclose = mine(({ code }) => this.#closed(code));
    setTimeout(mine(() => this.#ready || this.#closed(null)), GREETING_MS);
    this.#tell("connecting");
  }

  #hangUp() {
    clearTimeout(this.#timer);
    this.#timer = 0;
    const socket = this.#socket;
    this.#socket = null;
    this.#ready = false;
    socket?.close(NORMAL);
  }

  #receive(event) {
    if (event.type === "session.created") {
      this.#attempt = 0;
      this.#ready = true;
      this.send({ type: "session.update", event_id: CONFIGURE, session: this.#configuration() });
      this.#tell("ready");
    } else if (event.type === "error" && event.error.event_id === CONFIGURE) {
      this.#refuse(event.error, false);
    } else {
      if (event.type === "error") this.#complaint = event.error;
      this.#tell("event", event);
    }
  }

  #closed(code) {
    this.#hangUp();
    if (REFUSALS.has(code)) {
      const unsaid = { message: "The server refused the connection." };
      this.#refuse(this.#complaint ?? unsaid, code === BAD_KEY);
    } else if (this.resting && code === NORMAL) {
      this.#wanted = false;
      this.#tell("ended");
    } else if (this.#wanted) {
      const wait = BACKOFF_MS[Math.min(this.#attempt, BACKOFF_MS.length - 1)];
      this.#attempt += 1;
      this.#timer = setTimeout(() => this.#dial(), wait * (0.75 + Math.random() / 4));
      this.#tell("dropped", { message: this.#complaint?.message });
    }
  }

  #refuse({ message, code = null }, key) {
    this.close();
    this.#tell("refused", { message, code, key });
  }

  #tell(type, detail) {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }
}
