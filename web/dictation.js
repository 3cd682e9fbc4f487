// The dictation tab: microphone → session → transcript → view, and the status line's words.

import { clock } from "./export.js";
import { FileDesk } from "./desk.js";
import { Meter } from "./meter.js";
import { Microphone, explain, obstacle } from "./microphone.js";
import { element, lostWords, status } from "./notices.js";
import { TranscriptView } from "./render.js";
import { Session } from "./session.js";
import { transcripts } from "./settings.js";
import { Transcript } from "./transcript.js";
import { WakeLock } from "./wake.js";
import { choices, lookInto, unauthorized, welcome } from "./welcome.js";

const SAVE_AFTER_MS = 500;
const SILENT_RMS = 1e-5;
const SILENT_SECONDS = 4;

const saved = transcripts.read() ?? { live: [], clock: 0, files: [] };
const live = new Transcript("Live");
const view = new TranscriptView(live, { remove: "Clear" });
const session = new Session(() => choices.transcription, saved.clock);
const microphone = new Microphone();
const meter = new Meter(element("meter"));
const wakeLock = new WakeLock();
const desk = new FileDesk(element("transcripts"), choices, needKey);

let phase = "idle";
let silentSince = null;
let saving = 0;
let unsaved = false;

function setPhase(next) {
  phase = next;
  const listening = next === "listening";
  const button = element("listen");
  button.dataset.phase = next;
  button.setAttribute("aria-label", listening ? "Pause" : "Start listening");
  document.title = listening ? "Listening – Antiphon" : "Antiphon";
}

/** Whether another tab is shown, which has the microphone then. */
function away() {
  return element("dictation").hidden;
}

function resting() {
  return live.empty ? "Ready." : "Press the microphone to go on.";
}

async function start() {
  if (away()) return;
  const reason = obstacle();
  if (reason) {
    status.problem(reason);
    return;
  }
  setPhase("starting");
  status.say("Waiting for the microphone…");
  try {
    await microphone.start(choices.microphone);
  } catch (error) {
    setPhase("idle");
    status.problem(explain(error));
    return;
  }
  if (away()) {
    await microphone.stop();
    setPhase("idle");
    status.say(resting());
    return;
  }
  setPhase("listening");
  silentSince = null;
  session.open();
  status.say(session.connected ? "Listening." : "Connecting…");
  meter.start(() => microphone.level);
  wakeLock.hold();
  void choices.showMicrophones();
}

/** Stop listening; `said` is what the status line says then. */
async function pause(say = () => status.say(resting())) {
  setPhase("stopping");
  meter.stop();
  await microphone.stop();
  session.commit();
  await wakeLock.release();
  setPhase("idle");
  say();
}

function toggle() {
  const paused = "Paused. Press the microphone to go on.";
  if (phase === "idle") void start();
  else if (phase === "listening") void pause(() => status.say(paused));
}

// Going on would only fail again.
function stopFor(message) {
  session.close();
  if (phase === "listening") void pause(() => status.problem(message));
  else status.problem(message);
}

function needKey(message) {
  const going = phase === "listening";
  stopFor(message);
  unauthorized(message, () => going && void start());
}

async function findOut() {
  const reason = await lookInto();
  if (reason?.key) needKey(reason.message);
  else if (reason) stopFor(reason.message);
}

function watchSession() {
  const on = (type, handle) => session.addEventListener(type, ({ detail }) => handle(detail));
  on("connected", ({ again, lost }) => {
    if (again) void welcome();
    const listening = phase === "listening" ? "Listening." : null;
    if (again) status.say(`Connected again.${lostWords(lost)}`, listening);
    else if (listening) status.say(listening);
  });
  on("dropped", ({ message }) => {
    status.say(`${message ?? "Connection lost."} Trying again…`);
    void findOut();
  });
  on("refused", ({ message, key }) => {
    if (key) needKey(message);
    else stopFor(message);
  });
  on("problem", ({ message }) => status.problem(message));
  on("congested", ({ on: slow, lost }) => {
    if (slow) status.problem("The connection is too slow to keep up. Words may be missing.");
    else status.say(`The connection keeps up again.${lostWords(lost)}`, "Listening.");
  });
  on("begin", ({ id, start: at }) => live.begin(id, at));
  on("stop", ({ id, end }) => live.stop(id, end));
  on("delta", ({ id, text }) => live.settle(id, text));
  on("tentative", ({ id, text }) => live.suppose(id, text));
  on("completed", ({ id, text }) => live.complete(id, text));
  on("failed", ({ id, message }) => live.fail(id, message));
  on("cut", ({ id }) => live.cut(id));
  on("forget", ({ id }) => live.remove(id));
}

function watchMicrophone() {
  microphone.addEventListener("chunk", ({ detail }) => {
    session.push(detail.pcm);
    unsaved = true;
    element("clock").textContent = clock(session.clock);
    watchSilence();
  });
  microphone.addEventListener("interrupted", ({ detail }) => {
    if (phase !== "listening") return;
    void pause(() => status.problem(`${detail.message} Press the microphone to go on.`));
  });
}

// A muted microphone gives digital silence, which a quiet room never does.
function watchSilence() {
  if (microphone.level >= SILENT_RMS) {
    if (silentSince === true) status.say("Listening.");
    silentSince = null;
  } else if (silentSince !== true) {
    silentSince ??= session.clock;
    if (session.clock - silentSince < SILENT_SECONDS) return;
    silentSince = true;
    status.problem("The microphone gives no sound at all. Is it muted?");
  }
}

function clear() {
  const time = session.clock;
  const rows = live.clear();
  session.setClock(0);
  element("clock").textContent = clock(0);
  status.offerUndo("Cleared.", () => {
    session.setClock(session.clock + time);
    element("clock").textContent = clock(session.clock);
    live.restore(rows, time);
  });
}

function store() {
  clearTimeout(saving);
  saving = 0;
  unsaved = false;
  const kept = transcripts.write({ live, clock: session.clock, files: desk });
  if (!kept) status.problem("This browser keeps nothing here: save the words before you leave.");
}

function storeSoon() {
  unsaved = true;
  saving ||= setTimeout(store, SAVE_AFTER_MS);
  element("welcome").hidden = !live.empty || !desk.empty;
}

/** To be called once. */
function begin() {
  for (const type of ["change", "remove", "reset"]) live.addEventListener(type, storeSoon);
  desk.addEventListener("change", storeSoon);
  view.addEventListener("removed", clear);
  element("transcripts").append(view.element);
  live.restore(saved.live);
  desk.restore(saved.files);
  element("clock").textContent = clock(session.clock);
  status.say(resting());
  watchSession();
  watchMicrophone();
  choices.addEventListener("change", async ({ detail }) => {
    if (detail !== "microphone") session.restart();
    else if (phase === "listening") await pause().then(start);
  });
  element("listen").addEventListener("click", toggle);
  // Focus that a page begins with is outlined, and would stay so for those who use a mouse.
  element("listen").addEventListener("pointerdown", () => element("listen").blur());
  // What is stored may be the words of another window by now.
  globalThis.addEventListener("pagehide", () => unsaved && store());
  const reason = obstacle();
  element("obstacle").textContent = reason ?? "";
  element("obstacle").hidden = !reason;
}

/** Another tab wants the microphone. */
function leave() {
  if (phase === "listening") void pause();
}

export const dictation = { begin, leave };
