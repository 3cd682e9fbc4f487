// Where the server is, and how its REST answers and errors are read.

import { apiKey } from "./settings.js";

export class ApiError extends Error {
  constructor(message, status = 0) {
    super(message);
    this.status = status;
  }
}

/** An address on the server that this page came from. */
export function address(path) {
  return new URL(path, document.baseURI);
}

/** Where a Realtime session is opened, with these fields in the query. */
export function socketAddress(query) {
  const url = address("v1/realtime");
  url.search = new URLSearchParams({ ...query, extensions: "antiphon.tentative" });
  url.protocol = url.protocol === "https:" ? "wss:" : "ws:";
  return url.href;
}

export function socketProtocols() {
  const key = apiKey.read();
  return key ? ["realtime", `openai-insecure-api-key.${key}`] : ["realtime"];
}

async function problem(response) {
  try {
    const { error } = await response.json();
    if (typeof error?.message === "string") return error.message;
  } catch {
    // Not JSON: something between here and the server answered.
  }
  return `The server answered with status ${response.status}.`;
}

/** Ask the server; throws ApiError with a sentence for the user. */
export async function ask(path, options = {}) {
  const key = apiKey.read();
  const headers = key ? { Authorization: `Bearer ${key}` } : {};
  let response;
  try {
    response = await fetch(address(path), { ...options, headers });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ApiError("The server does not answer. Is it running?");
  }
  if (!response.ok) throw new ApiError(await problem(response), response.status);
  return response;
}
