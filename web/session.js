// A transcription session that outlives its connections: audio in, utterances out. What was said
// while the connection was away is sent when it is back, and so is the audio of an utterance
// whose words had not arrived. All times told are seconds of captured audio.

import { socketAddress } from "./api.js";
import { Connection } from "./connection.js";
import { Outbox } from "./outbox.js";
import { toBase64 } from "./pcm.js";
import { OUTPUT_RATE } from "./resampler-worklet.js";

const LOOK_BACK = 2 * OUTPUT_RATE;
const HARMLESS = new Set(["input_audio_buffer_commit_empty"]);
const TEXT = {
  "conversation.item.input_audio_transcription.delta": ["delta", "delta"],
  "antiphon.transcription.tentative": ["tentative", "text"],
  "conversation.item.input_audio_transcription.completed": ["completed", "transcript"],
};

/**
 * Events of the connection: connecting, connected {again, lost}, dropped {message},
 * refused {message, code, key}, problem {message}, congested {on, lost}. Of utterances:
 * begin {id, start}, stop {id, end}, delta, tentative and completed {id, text},
 * failed {id, message}, cut {id} (no more words will come), forget {id} (it is heard anew).
 */
export class Session extends EventTarget {
  #connection;
  #connections = 0;
  #dropped = false;
  #outbox;
  #origin = 0;
  #offset = null;
  #sent = 0;
  #open = new Map();
  #shown = new Set();
  #commitDue = false;
  #congested = false;

  /** `transcription` gives {model, language} when a connection begins; `start` is in seconds. */
  constructor(transcription, start = 0) {
    super();
    this.#outbox = new Outbox(Math.round(start * OUTPUT_RATE));
    this.#connection = new Connection(
      () => socketAddress({ intent: "transcription" }),
      () => this.#configuration(transcription()),
    );
    const on = (type, handle) =>
      this.#connection.addEventListener(type, ({ detail }) => handle(detail));
    on("connecting", () => this.#tell("connecting"));
    on("ready", () => this.#begin());
    on("event", (event) => this.#receive(event));
    on("refused", (detail) => this.#tell("refused", detail));
    on("dropped", (detail) => {
      this.#dropped = true;
      this.#tell("dropped", detail);
    });
  }

  /** Seconds captured so far. */
  get clock() {
    return (this.#outbox.end - this.#origin) / OUTPUT_RATE;
  }

  /** Count on from `seconds`. */
  setClock(seconds) {
    this.#origin = this.#outbox.end - Math.round(seconds * OUTPUT_RATE);
  }

  get connected() {
    return this.#connection.ready;
  }

  /** Connect unless connected, and stay so until closed. */
  open() {
    this.#connection.open();
  }

  close() {
    this.#connection.close();
  }

  /** Go on with the settings as they are now. */
  restart() {
    this.#connection.restart();
  }

  /** Take 16-bit PCM at 24 kHz from the microphone. */
  push(pcm) {
    this.#connection.resting = false;
    this.#outbox.push(pcm);
    this.#pump();
  }

  /** No more audio for now: finish what is open. */
  commit() {
    this.#connection.resting = true;
    this.#commitDue = true;
    this.#pump();
  }

  #configuration(transcription) {
    const input = {
      format: { type: "audio/pcm", rate: OUTPUT_RATE },
      transcription,
      turn_detection: { type: "server_vad" },
    };
    return { type: "transcription", audio: { input } };
  }

  #begin() {
    const again = this.#dropped;
    this.#dropped = false;
    this.#connections += 1;
    this.#offset = null;
    const replayed = this.#outbox.rewind(this.#earliestOpen());
    for (const id of this.#open.keys()) this.#tell(replayed ? "forget" : "cut", { id });
    this.#open.clear();
    this.#shown.clear();
    this.#tell("connected", { again, lost: this.#outbox.takeLost() });
    this.#pump();
  }

  #receive(event) {
    const id = `${this.#connections}:${event.item_id}`;
    if (event.type in TEXT) {
      const [type, field] = TEXT[event.type];
      this.#text(type, id, event[field] ?? "");
      return;
    }
    switch (event.type) {
      case "input_audio_buffer.speech_started":
        this.#open.set(id, this.#position(event.audio_start_ms));
        this.#show(id);
        break;
      case "input_audio_buffer.speech_stopped":
        this.#tell("stop", { id, end: this.#seconds(this.#position(event.audio_end_ms)) });
        break;
      case "input_audio_buffer.committed":
        if (!this.#open.has(id)) this.#open.set(id, this.#sent);
        break;
      case "conversation.item.input_audio_transcription.failed":
        this.#show(id);
        this.#tell("failed", { id, message: event.error.message ?? "" });
        this.#forget(id);
        break;
      case "error":
        if (!HARMLESS.has(event.error.code)) this.#tell("problem", event.error);
        break;
      default: // Other events say nothing that the page shows.
    }
  }

  #text(type, id, text) {
    if (text.trim() !== "") this.#show(id);
    this.#tell(type, { id, text });
    if (type === "completed") this.#forget(id);
  }

  // An utterance is shown when speech starts, or, committed without that, once it has words.
  #show(id) {
    if (this.#shown.has(id)) return;
    this.#shown.add(id);
    this.#tell("begin", { id, start: this.#seconds(this.#open.get(id) ?? this.#sent) });
  }

  #forget(id) {
    this.#open.delete(id);
    this.#shown.delete(id);
  }

  #earliestOpen() {
    return this.#open.size ? Math.min(...this.#open.values()) : null;
  }

  // Send what waits, as long as the network takes it; the rest stays in the outbox, bounded.
  #pump() {
    if (!this.#connection.ready) return;
    while (!this.#connection.congested) {
      const chunk = this.#outbox.next();
      if (!chunk) break;
      // Audio lost on the way makes the server's clock late by as much.
      this.#offset = this.#offset === null ? chunk.at : this.#offset + chunk.at - this.#sent;
      this.#sent = chunk.at + chunk.length;
      this.#connection.send({ type: "input_audio_buffer.append", audio: toBase64(chunk.pcm) });
    }
    this.#outbox.settle(this.#earliestOpen() ?? this.#sent - LOOK_BACK);
    this.#watchCongestion();
    if (this.#commitDue && !this.#congested) {
      this.#commitDue = false;
      this.#connection.send({ type: "input_audio_buffer.commit" });
    }
  }

  #watchCongestion() {
    const { congested } = this.#connection;
    if (congested === this.#congested) return;
    this.#congested = congested;
    this.#tell("congested", { on: congested, lost: this.#outbox.takeLost() });
  }

  // The server counts from the first audio of its connection.
  #position(ms) {
    return (this.#offset ?? this.#outbox.end) + Math.round((ms * OUTPUT_RATE) / 1000);
  }

  #seconds(position) {
    return Math.max(0, (position - this.#origin) / OUTPUT_RATE);
  }

  #tell(type, detail) {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }
}
