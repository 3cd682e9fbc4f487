// A conversation that outlives its connections: sound and typed messages in, answers out. A new
// connection is told what was said before it. Knows nothing of the page.

import { Connection } from "./connection.js";
import { newId, spoken } from "./items.js";
import { Latencies } from "./latency.js";
import { fromBase64, toBase64 } from "./pcm.js";

const LAST_CHUNK_MS = 150;
const SHORTEST_TURN_MS = 250;
const TRANSCRIPTION = "conversation.item.input_audio_transcription";
const INTERRUPTED = "interrupted";
// These tell of a race that somebody else won, which the page shows anyway.
const HARMLESS = new Set([
  "response_cancel_not_active",
  "conversation_already_has_active_response",
  "input_audio_buffer_commit_empty",
  "item_truncate_invalid_item_id",
]);
const ENDINGS = { cancelled: INTERRUPTED, incomplete: "cut short", failed: "failed" };

/**
 * Events: connected {again}, dropped {message}, refused {message, code, key}, problem {message},
 * activity (which of "listening", "hearing", "thinking" and "speaking" it is now).
 */
export class Conversation extends EventTarget {
  #connection;
  #dialogue;
  #player;
  #runTool;
  #latencies = new Latencies();
  #epoch = 0;
  #dropped = false;
  #response = null;
  #unwanted = new Set();
  #calls = new Map();
  #hearing = false;
  #understanding = false;
  #askDue = false;
  #silence = null;
  #held = null;
  #activity = "listening";

  /**
   * `address` and `configuration` are the connection's; `runTool(name, arguments)` gives what a
   * tool says.
   */
  constructor({ address, configuration, dialogue, player, runTool }) {
    super();
    this.#dialogue = dialogue;
    this.#player = player;
    this.#runTool = runTool;
    this.#connection = new Connection(address, configuration);
    const on = (type, handle) =>
      this.#connection.addEventListener(type, ({ detail }) => handle(detail));
    on("ready", () => this.#begin());
    on("event", (event) => this.#receive(event));
    on("ended", () => this.#forget());
    on("dropped", (detail) => this.#lose(detail));
    on("refused", (detail) => {
      this.#forget();
      this.#tell("refused", detail);
    });
    player.addEventListener("drained", () => this.#tellActivity());
  }

  get connected() {
    return this.#connection.ready;
  }

  /** Connect unless connected, and stay so. */
  open() {
    this.#connection.open();
  }

  close() {
    this.#forget();
    this.#connection.close();
  }

  /** Go on over a new connection: with another model, or with nothing said. */
  restart() {
    this.#forget();
    this.#connection.restart();
  }

  /** Have the session as it is configured now. */
  configure(session) {
    if (this.connected) this.#send({ type: "session.update", session });
  }

  /** Take 16-bit PCM at 24 kHz from the microphone; returns whether it could be sent. */
  hear(pcm) {
    if (!this.connected) return true;
    if (this.#connection.congested) return false;
    this.#connection.resting = false;
    this.#send({ type: "input_audio_buffer.append", audio: toBase64(pcm) });
    return true;
  }

  /** The microphone is off: what was half said is not answered. */
  rest() {
    this.#connection.resting = true;
    this.#held = null;
    this.#stopAnswer();
    if (this.connected) this.#send({ type: "input_audio_buffer.clear" });
    this.#hearing = this.#understanding = false;
    for (const { id, role, state } of this.#dialogue.entries) {
      if (role === "user" && state === "open") this.#dialogue.remove(id);
    }
    this.#tellActivity();
  }

  /** Say something in writing, over whatever is being said. */
  say(text) {
    this.#player.open();
    this.#stopAnswer();
    const id = newId();
    this.#dialogue.add(id, "user", { text, state: "done" });
    this.#latencies.begin(id, null);
    if (this.connected) {
      const content = [{ type: "input_text", text }];
      this.#create({ id, type: "message", role: "user", content });
      this.#ask();
    } else {
      this.#askDue = true;
      this.open();
    }
  }

  /** A turn begins that ends with `release`: for sessions without turn detection. */
  press() {
    if (!this.connected || this.#held) return;
    this.#held = { since: performance.now() };
    this.#stopAnswer();
    this.#hearing = true;
    this.#tellActivity();
  }

  /** Whether a turn is under way that `press` began. */
  get held() {
    return this.#held !== null;
  }

  /** The turn is over, once the last sound of it has come. */
  async release() {
    const held = this.#held;
    if (!held || held.over) return;
    held.over = true;
    const lasted = performance.now() - held.since;
    if (lasted >= SHORTEST_TURN_MS) this.#latencies.begin(null, null);
    await new Promise((resolve) => setTimeout(resolve, LAST_CHUNK_MS));
    if (this.#held !== held) return;
    this.#held = null;
    this.#hearing = false;
    if (this.connected && lasted >= SHORTEST_TURN_MS) {
      this.#understanding = true;
      this.#send({ type: "input_audio_buffer.commit" });
      this.#ask();
    } else if (this.connected) {
      this.#send({ type: "input_audio_buffer.clear" });
    }
    this.#tellActivity();
  }

  // Connections

  #begin() {
    const again = this.#dropped;
    this.#dropped = false;
    this.#epoch += 1;
    for (const item of this.#dialogue.toItems()) this.#create(item);
    this.#tell("connected", { again });
    if (this.#askDue) this.#ask();
  }

  #lose(detail) {
    this.#dropped = true;
    this.#forget();
    this.#tell("dropped", detail);
  }

  // What was under way is lost with its connection.
  #forget() {
    this.#epoch += 1;
    this.#response = null;
    this.#held = null;
    this.#hearing = this.#understanding = false;
    this.#unwanted.clear();
    this.#calls.clear();
    this.#player.flush();
    if (!this.#askDue) this.#latencies.reset();
    this.#dialogue.close(INTERRUPTED);
    this.#tellActivity();
  }

  // What we do

  #send(event) {
    this.#connection.send(event);
  }

  #create(item) {
    this.#send({ type: "conversation.item.create", item });
  }

  #ask() {
    this.#askDue = false;
    this.#understanding = true;
    this.#send({ type: "response.create" });
    this.#tellActivity();
  }

  #stopAnswer() {
    if (this.#response !== null && this.connected) {
      this.#unwanted.add(this.#response);
      this.#send({ type: "response.cancel", response_id: this.#response });
      this.#response = null;
    } else if (this.#understanding && this.connected) {
      this.#send({ type: "response.cancel" }); // the one that has not begun
    }
    this.#silencePlayer();
  }

  // The server is told what was heard, so that it knows what it has said.
  #silencePlayer() {
    for (const { item, index, ms } of this.#player.flush()) {
      this.#dialogue.change(item, { mark: INTERRUPTED, state: "done" });
      if (!this.connected) continue;
      const place = { item_id: item, content_index: index, audio_end_ms: ms };
      this.#send({ type: "conversation.item.truncate", ...place });
    }
  }

  // What the server says

  #handlers = {
    "session.updated": ({ session }) => {
      this.#silence = session.audio?.input?.turn_detection?.silence_duration_ms ?? null;
    },
    "input_audio_buffer.speech_started": ({ item_id: item }) => {
      this.#hearing = true;
      this.#silencePlayer();
      this.#dialogue.add(item, "user");
    },
    "input_audio_buffer.speech_stopped": ({ item_id: item }) => {
      this.#hearing = false;
      this.#understanding = true;
      this.#latencies.begin(item, this.#silence);
    },
    "input_audio_buffer.committed": ({ item_id: item }) => {
      this.#latencies.name(item);
      this.#dialogue.add(item, "user");
    },
    [`${TRANSCRIPTION}.delta`]: ({ item_id: item, delta }) => {
      this.#dialogue.add(item, "user");
      this.#dialogue.append(item, delta ?? "");
    },
    "antiphon.transcription.tentative": ({ item_id: item, text }) => {
      const before = this.#dialogue.get(item)?.text;
      this.#dialogue.change(item, { tail: before ? ` ${text.trimStart()}` : text });
    },
    [`${TRANSCRIPTION}.completed`]: (event) => this.#understood(event),
    [`${TRANSCRIPTION}.failed`]: ({ item_id: item, error }) => {
      this.#understanding = false;
      this.#dialogue.add(item, "user");
      const mark = `not transcribed: ${error.message ?? ""}`;
      this.#dialogue.change(item, { tail: "", state: "failed", mark });
    },
    "response.created": ({ response }) => {
      this.#understanding = false;
      this.#response = response.id;
      this.#latencies.respond(response.id);
    },
    "response.output_item.added": ({ item, response_id: response }) => {
      if (!this.#unwanted.has(response)) this.#itemAdded(item);
    },
    "response.output_text.delta": (event) => this.#word(event),
    "response.output_audio_transcript.delta": (event) => this.#word(event),
    "response.output_audio.delta": (event) => this.#sound(event),
    "response.function_call_arguments.delta": ({ item_id: item, delta }) => {
      const given = this.#dialogue.get(item)?.arguments ?? "";
      this.#dialogue.change(item, { arguments: given + delta });
    },
    "response.output_item.done": ({ item, response_id: response }) => {
      const wanted = item.status === "completed" && !this.#unwanted.has(response);
      if (item.type === "function_call" && wanted) this.#call(item, response);
    },
    "response.done": ({ response }) => this.#done(response),
    "conversation.item.truncated": ({ item_id: item }) => {
      this.#send({ type: "conversation.item.retrieve", item_id: item });
    },
    "conversation.item.retrieved": ({ item }) => {
      this.#dialogue.change(item.id, { text: spoken(item) });
    },
    error: ({ error }) => {
      if (!HARMLESS.has(error.code)) this.#tell("problem", error);
      this.#understanding = false;
    },
  };

  #receive(event) {
    // Before the greeting, errors are what the connection is refused for.
    if (!this.connected || !Object.hasOwn(this.#handlers, event.type)) return;
    this.#handlers[event.type](event);
    this.#tellActivity();
  }

  #understood({ item_id: item, transcript }) {
    this.#show(this.#latencies.transcribed(item));
    if (transcript.trim() === "") {
      this.#understanding = false;
      this.#latencies.forget(item);
    }
    this.#dialogue.add(item, "user");
    this.#dialogue.complete(item, transcript);
  }

  #itemAdded({ id, type, call_id: call, name }) {
    if (type === "message") this.#dialogue.add(id, "assistant");
    if (type === "function_call") this.#dialogue.add(id, "tool", { call, name, arguments: "" });
  }

  #word({ response_id: response, item_id: item, delta }) {
    if (this.#unwanted.has(response)) return;
    this.#dialogue.add(item, "assistant");
    this.#dialogue.append(item, delta);
    this.#show(this.#latencies.came("word", response, item));
  }

  #sound({ response_id: response, item_id: item, content_index: index, delta }) {
    if (this.#unwanted.has(response)) return;
    this.#player.push(item, index, fromBase64(delta));
    this.#show(this.#latencies.came("sound", response, item));
  }

  #show(turn) {
    if (turn?.entry) this.#dialogue.change(turn.entry, { latency: turn });
  }

  #call({ id, call_id: call, name, arguments: given }, response) {
    const epoch = this.#epoch;
    this.#dialogue.change(id, { arguments: given });
    const work = Promise.resolve(this.#runTool(name, given)).then((result) => {
      this.#dialogue.change(id, { result, state: "done" });
      if (epoch !== this.#epoch || !this.connected) return;
      this.#create({ type: "function_call_output", call_id: call, output: result });
    });
    this.#calls.set(response, [...(this.#calls.get(response) ?? []), work]);
  }

  #done({ id, status, status_details: details, output }) {
    if (this.#response === id) this.#response = null;
    this.#unwanted.delete(id);
    this.#latencies.end(id);
    for (const item of output ?? []) this.#close(item, status);
    if (status === "failed") {
      const message = details?.error?.message ?? "The answer failed.";
      this.#tell("problem", { message });
    }
    void this.#follow(id, status);
  }

  #close(item, status) {
    const entry = this.#dialogue.get(item.id);
    if (!entry || entry.state !== "open") return;
    const mark = item.status === "completed" ? "" : (ENDINGS[status] ?? "");
    // Of an answer that was cut, the server keeps what it believes was heard.
    const heard = entry.role === "assistant" && status === "cancelled" && mark;
    this.#dialogue.change(item.id, {
      ...(heard && { text: spoken(item) }),
      ...(entry.role !== "tool" || mark ? { state: "done", mark } : {}),
    });
  }

  // The assistant goes on once it can be told what all its tools have said.
  async #follow(response, status) {
    const calls = this.#calls.get(response);
    this.#calls.delete(response);
    if (!calls) return;
    const epoch = this.#epoch;
    await Promise.all(calls);
    const free = this.connected && this.#response === null && !this.#hearing;
    if (status === "completed" && epoch === this.#epoch && free) this.#ask();
  }

  #tellActivity() {
    let now = "listening";
    if (this.#hearing) now = "hearing";
    else if (this.#player.playing) now = "speaking";
    else if (this.#response !== null || this.#understanding) now = "thinking";
    if (now === this.#activity) return;
    this.#activity = now;
    this.#tell("activity", now);
  }

  #tell(type, detail) {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }
}
