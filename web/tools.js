// The tools that this page offers to the assistant. They run in the browser.

const MOST_TITLE = 200;
const MOST_TEXT = 5_000;

function now() {
  const date = new Date();
  const { timeZone } = Intl.DateTimeFormat().resolvedOptions();
  return { time: date.toLocaleString("en", { dateStyle: "full", timeStyle: "long" }), timeZone };
}

function note({ title, text }, page) {
  if (typeof text !== "string" || text.trim() === "") throw new Error("A note needs some text.");
  page.note(typeof title === "string" ? title.slice(0, MOST_TITLE) : "", text.slice(0, MOST_TEXT));
  return { shown: true };
}

/** By name: what it is for, the JSON schema of its arguments, and what it does on a page. */
export const TOOLS = {
  current_time: {
    description: "The date, the time and the time zone where the user is.",
    parameters: { type: "object", properties: {}, additionalProperties: false },
    run: now,
  },
  show_note: {
    description:
      "Show the user a note on the screen, for what is better read than heard: a list, an " +
      "address, a number, a recipe.",
    parameters: {
      type: "object",
      properties: { title: { type: "string" }, text: { type: "string" } },
      required: ["title", "text"],
      additionalProperties: false,
    },
    run: note,
  },
};

/** The tools of these names as a session lists them. */
export function definitions(names) {
  return names
    .filter((name) => name in TOOLS)
    .map((name) => {
      const { description, parameters } = TOOLS[name];
      return { type: "function", name, description, parameters };
    });
}

/**
 * Run a tool that the assistant called with a JSON string, on a page that has `note(title, text)`.
 * Returns what the assistant is told, errors too: it may mend its call.
 */
export function run(name, given, page) {
  try {
    if (!Object.hasOwn(TOOLS, name)) throw new Error(`There is no tool '${name}'.`);
    const read = JSON.parse(given || "{}");
    if (read === null || typeof read !== "object") throw new Error("Arguments are an object.");
    return JSON.stringify(TOOLS[name].run(read, page));
  } catch (error) {
    return JSON.stringify({ error: error.message });
  }
}
