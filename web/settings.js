// What the browser remembers: choices, the transcript, the key. Storage may be full or forbidden.

const PREFIX = "antiphon.";

function read(storage, name) {
  try {
    return JSON.parse(globalThis[storage].getItem(PREFIX + name));
  } catch {
    return null;
  }
}

/** Returns whether it could be stored. */
function write(storage, name, value) {
  try {
    if (value === null) globalThis[storage].removeItem(PREFIX + name);
    else globalThis[storage].setItem(PREFIX + name, JSON.stringify(value));
    return true;
  } catch {
    return false;
  }
}

export const settings = {
  ...{ model: "", language: "", microphone: "" },
  ...read("localStorage", "settings"),
};

export function remember(name, value) {
  settings[name] = value;
  write("localStorage", "settings", settings);
}

export const conversing = {
  model: "",
  named: "",
  voice: "",
  instructions: "You are a friendly voice assistant. Answer briefly, in plain spoken sentences.",
  turns: "server_vad",
  silence: 500,
  eagerness: "auto",
  speed: 1,
  confirm: 300,
  current_time: true,
  show_note: true,
  ...read("localStorage", "conversation"),
};

export function rememberConversing(name, value) {
  conversing[name] = value;
  write("localStorage", "conversation", conversing);
}

export const transcripts = {
  read: () => read("localStorage", "transcripts"),
  write: (value) => write("localStorage", "transcripts", value),
};

let typed = null;

export const apiKey = {
  read: () => typed ?? read("sessionStorage", "key") ?? read("localStorage", "key"),

  /** Keep the key for this tab, or with `always` for this browser. */
  write(key, always) {
    typed = key;
    write("sessionStorage", "key", always ? null : key);
    write("localStorage", "key", always ? key : null);
  },
};
