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
