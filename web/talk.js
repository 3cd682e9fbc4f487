// The conversation tab: microphone → conversation → chat and loudspeaker, and what its dock says.

import { socketAddress } from "./api.js";
import { ChatView } from "./chat.js";
import { Conversation } from "./conversation.js";
import { Dialogue } from "./dialogue.js";
import { Meter } from "./meter.js";
import { Microphone, explain, obstacle } from "./microphone.js";
import { StatusLine, element, showLack } from "./notices.js";
import { Player } from "./player.js";
import { Preferences } from "./preferences.js";
import { run } from "./tools.js";
import { WakeLock } from "./wake.js";
import { choices, lookInto, unauthorized } from "./welcome.js";

const RESTARTING = new Set(["model", "named", "voice"]);
const DOING = {
  listening: "Listening.",
  hearing: "Hearing you…",
  thinking: "Thinking…",
  speaking: "Answering.",
};

const status = new StatusLine(element("talk-status"));
const preferences = new Preferences(element("preferences"));
const dialogue = new Dialogue();
const player = new Player();
const microphone = new Microphone();
const wakeLock = new WakeLock();
const meter = new Meter(element("talk-meter"));
const conversation = new Conversation({
  address: () => socketAddress({ model: preferences.model }),
  configuration: session,
  dialogue,
  player,
  runTool: (name, given) => run(name, given, { note: showNote }),
});

let phase = "idle";
let activity = "listening";
let notes = 0;

function session() {
  return preferences.session(choices.transcription);
}

function showNote(title, text) {
  notes += 1;
  dialogue.add(`note-${notes}`, "note", { title, text, state: "done" });
}

function setPhase(next) {
  phase = next;
  const button = element("talk");
  button.dataset.phase = { talking: "listening" }[next] ?? next;
  button.setAttribute("aria-label", next === "idle" ? "Talk" : "End");
  element("hold").hidden = !(next === "talking" && preferences.manual);
  document.title = next === "talking" ? "Talking – Antiphon" : "Antiphon";
  showActivity();
}

function showActivity() {
  const quiet = phase !== "talking" && activity === "listening";
  element("activity").textContent = quiet ? "" : DOING[activity];
  element("activity").dataset.activity = activity;
  if (phase === "talking" && preferences.manual && activity === "listening") {
    element("activity").textContent = "Your turn.";
  }
}

/** Connect, and only then ask for the microphone: a server that cannot answer needs none. */
async function start() {
  if (element("conversation").hidden) return;
  const reason = obstacle();
  if (reason) {
    status.problem(reason);
    return;
  }
  setPhase("starting");
  showLack(null);
  player.open();
  if (!conversation.connected) status.say("Connecting…");
  conversation.open();
  if (conversation.connected) await turnOn();
}

async function turnOn() {
  setPhase("opening");
  status.say("Waiting for the microphone…");
  try {
    await microphone.start(choices.microphone);
  } catch (error) {
    if (phase === "opening") status.problem(explain(error));
    setPhase("idle");
    return;
  }
  if (phase !== "opening") {
    await microphone.stop();
    setPhase("idle");
    return;
  }
  setPhase("talking");
  wakeLock.hold();
  status.say(preferences.manual ? "Hold the button, or the space bar, while you speak." : "");
  meter.start(
    () => microphone.level,
    () => player.level,
  );
  if (preferences.manual) element("hold").focus();
  void choices.showMicrophones();
}

/** Be silent and deaf; the conversation can go on later. */
async function end(say = () => status.say("")) {
  if (phase === "starting") conversation.close();
  if (phase === "talking") {
    setPhase("stopping");
    meter.stop();
    await microphone.stop();
    await wakeLock.release();
  }
  conversation.rest();
  // Somebody may still be asked for the microphone; it is opened once at a time.
  setPhase(phase === "opening" ? "stopping" : "idle");
  say();
}

function toggle() {
  if (phase === "idle") void start();
  else if (phase !== "stopping") void end();
}

function stopFor(message) {
  conversation.close();
  void end(() => status.problem(message));
}

function needKey(message) {
  const going = phase !== "idle";
  stopFor(message);
  unauthorized(message, () => {
    void load();
    if (going) void start();
  });
}

async function findOut() {
  const reason = await lookInto();
  if (reason?.key) needKey(reason.message);
  else if (reason) stopFor(reason.message);
}

function watchConversation() {
  const on = (type, handle) => conversation.addEventListener(type, ({ detail }) => handle(detail));
  on("connected", ({ again }) => {
    if (again) status.say("Connected again.", "");
    else if (phase !== "starting") status.say("");
    if (phase === "starting") void turnOn();
  });
  on("dropped", ({ message }) => {
    status.say(`${message ?? "Connection lost."} Trying again…`);
    void findOut();
  });
  on("refused", ({ message, code, key }) => {
    if (key) needKey(message);
    else if (code === "model_not_found") {
      showLack(message);
      void end(() => status.problem("This server cannot hold a conversation yet."));
    } else stopFor(message);
  });
  on("problem", ({ message }) => status.problem(message));
  on("activity", (now) => {
    activity = now;
    showActivity();
  });
}

function watchMicrophone() {
  microphone.addEventListener("chunk", ({ detail }) => {
    if (preferences.manual && !conversation.held) return;
    if (!conversation.hear(detail.pcm)) {
      status.problem("The connection is too slow to keep up. Words may be missing.");
    }
  });
  microphone.addEventListener("interrupted", ({ detail }) => {
    if (phase === "talking") void end(() => status.problem(detail.message));
  });
}

function watchWriting() {
  element("compose").addEventListener("submit", (event) => {
    event.preventDefault();
    const text = element("message").value.trim();
    if (!text) return;
    element("message").value = "";
    showLack(null);
    if (!conversation.connected) status.say("Connecting…");
    conversation.say(text);
  });
}

// A turn lasts while the button or the space bar is held.
function watchHolding() {
  const button = element("hold");
  const press = () => {
    if (phase !== "talking" || !preferences.manual) return;
    conversation.press();
    button.setAttribute("aria-pressed", String(conversation.held));
  };
  const release = () => {
    button.setAttribute("aria-pressed", "false");
    void conversation.release();
  };
  button.addEventListener("pointerdown", (event) => {
    button.setPointerCapture(event.pointerId);
    press();
  });
  for (const type of ["pointerup", "pointercancel"]) button.addEventListener(type, release);
  globalThis.addEventListener("blur", release);
  const holds = ({ code, target }) =>
    code === "Space" && (target === button || target === document.body);
  document.addEventListener("keydown", (event) => {
    if (phase !== "talking" || !preferences.manual || !holds(event)) return;
    event.preventDefault();
    if (!event.repeat) press();
  });
  document.addEventListener("keyup", (event) => holds(event) && release());
}

function watchSettings() {
  const changed = (restarts) => {
    element("summary").textContent = preferences.summary;
    if (restarts) conversation.restart();
    else conversation.configure(session());
    setPhase(phase);
  };
  preferences.addEventListener("change", ({ detail }) => changed(RESTARTING.has(detail)));
  choices.addEventListener("change", async ({ detail }) => {
    if (detail !== "microphone") changed(true);
    else if (phase === "talking") await end().then(start);
  });
  element("summary").textContent = preferences.summary;
}

/** The tab is shown: learn what the server has for it. */
async function load() {
  try {
    await preferences.load();
  } catch (error) {
    status.problem(error.message);
    if (error.status === 401) unauthorized(error.message, load);
  }
}

/** To be called once. */
function begin() {
  new ChatView(dialogue, element("dialogue"));
  for (const type of ["change", "remove", "reset"]) {
    dialogue.addEventListener(type, () => {
      element("talk-welcome").hidden = !dialogue.empty;
      element("anew").hidden = dialogue.empty;
    });
  }
  watchConversation();
  watchMicrophone();
  watchWriting();
  watchHolding();
  watchSettings();
  element("talk").addEventListener("click", toggle);
  element("anew").addEventListener("click", () => {
    dialogue.clear();
    conversation.restart();
  });
}

/** Another tab wants the microphone. */
function leave() {
  if (phase !== "idle") toggle();
}

export const talk = { begin, leave, enter: load };
