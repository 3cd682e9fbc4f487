// The items of a Realtime conversation: their ids, their text, and how turns become items.

export function newId() {
  const bytes = crypto.getRandomValues(new Uint8Array(10));
  return `item_${[...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join("")}`;
}

/** What a message says, in words. */
export function spoken({ content }) {
  return (content ?? []).map(({ transcript, text }) => transcript ?? text ?? "").join("");
}

function message(id, role, type, text) {
  return { id, type: "message", role, content: [{ type, text }] };
}

/** An entry of a dialogue as items to create: none where there is nothing to tell. */
export function toItems({ id, role, text, name, call, arguments: given, result }) {
  if (role === "user") return text ? [message(id, role, "input_text", text)] : [];
  if (role === "assistant") return text ? [message(id, role, "output_text", text)] : [];
  if (role !== "tool" || result === null) return [];
  return [
    { id, type: "function_call", call_id: call, name, arguments: given },
    { type: "function_call_output", call_id: call, output: result },
  ];
}
