// The microphone: 24 kHz 16-bit PCM in chunks, a level, and plain words for what can go wrong.

const WORKLET = new URL("./resampler-worklet.js", import.meta.url);
const LAST_CHUNK_MS = 500;

/** Why this page cannot have a microphone at all, or null. */
export function obstacle() {
  if (globalThis.isSecureContext && navigator.mediaDevices?.getUserMedia) return null;
  if (!globalThis.isSecureContext) {
    const { port } = location;
    return (
      "Browsers give the microphone only to secure pages. Open this page on the server machine " +
      `as http://localhost${port && `:${port}`}, or start the server with ` +
      "“antiphon serve --tls-self-signed”. Dropping a file works here too."
    );
  }
  return "This browser gives pages no microphone. Try a current Firefox, Chrome, Edge or Safari.";
}

const REASONS = {
  NotAllowedError:
    "The microphone is blocked for this page. Allow it in the site settings, beside the " +
    "address, then press the microphone again.",
  NotFoundError: "No microphone was found. Plug one in, then press the microphone again.",
  NotReadableError:
    "The microphone is in use by another program, or the system withholds it. Close the other " +
    "program, then press the microphone again.",
};

/** A sentence for what getUserMedia threw. */
export function explain(error) {
  return REASONS[error.name] ?? `The microphone could not be started: ${error.message}`;
}

function constraints(deviceId) {
  const audio = { echoCancellation: true, noiseSuppression: true, autoGainControl: true };
  if (deviceId) audio.deviceId = { exact: deviceId };
  return { audio };
}

async function listen(deviceId) {
  try {
    return await navigator.mediaDevices.getUserMedia(constraints(deviceId));
  } catch (error) {
    // The chosen microphone is not there today; any other is better than none.
    const gone = error.name === "OverconstrainedError" || error.name === "NotFoundError";
    if (!deviceId || !gone) throw error;
    return navigator.mediaDevices.getUserMedia(constraints(""));
  }
}

/** Events: chunk {pcm}, interrupted {message} when the sound ends without being stopped. */
export class Microphone extends EventTarget {
  #stream = null;
  #context = null;
  #node = null;
  #analyser = null;
  #window = new Float32Array(1024);

  /** Listen to a device ("": the browser's choice). Throws what getUserMedia throws. */
  async start(deviceId) {
    this.#stream = await listen(deviceId);
    try {
      await this.#connect();
    } catch (error) {
      await this.#release();
      throw error;
    }
  }

  // The context keeps the device's own rate: Firefox refuses a microphone at any other.
  async #connect() {
    this.#context = new AudioContext();
    await this.#context.audioWorklet.addModule(WORKLET);
    const source = this.#context.createMediaStreamSource(this.#stream);
    this.#node = new AudioWorkletNode(this.#context, "resampler", {
      channelCount: 1,
      channelCountMode: "explicit",
    });
    this.#node.port.onmessage = ({ data }) => data && this.#tell("chunk", { pcm: data });
    this.#analyser = new AnalyserNode(this.#context, { fftSize: this.#window.length });
    source.connect(this.#analyser);
    source.connect(this.#node).connect(this.#context.destination);
    const [track] = this.#stream.getAudioTracks();
    track.onended = () => this.#interrupt("The microphone was unplugged or taken away.");
    this.#context.onstatechange = () => {
      if (this.#context && this.#context.state !== "running") {
        this.#interrupt("The system interrupted the microphone.");
      }
    };
    await this.#context.resume();
  }

  /** The device in use: {id, label}. */
  get device() {
    const [track] = this.#stream.getAudioTracks();
    return { id: track.getSettings().deviceId ?? "", label: track.label };
  }

  /** Loudness now: RMS of the last 20 ms or so, 0 to 1. */
  get level() {
    if (!this.#analyser) return 0;
    this.#analyser.getFloatTimeDomainData(this.#window);
    const power = this.#window.reduce((sum, sample) => sum + sample * sample, 0);
    return Math.sqrt(power / this.#window.length);
  }

  /** Stop listening, once the last samples have been told. */
  async stop() {
    if (!this.#node) return;
    const { port } = this.#node;
    await new Promise((resolve) => {
      setTimeout(resolve, LAST_CHUNK_MS);
      port.addEventListener("message", ({ data }) => data === null && resolve());
      port.postMessage("finish");
    });
    await this.#release();
  }

  async #release() {
    const [stream, context] = [this.#stream, this.#context];
    this.#stream = null;
    this.#context = null;
    this.#node = null;
    this.#analyser = null;
    stream?.getTracks().forEach((track) => track.stop());
    await context?.close();
  }

  #interrupt(message) {
    this.#tell("interrupted", { message });
  }

  #tell(type, detail) {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }
}

/** The microphones there are, as {id, label}; labels are empty before permission is given. */
export async function microphones() {
  const devices = (await navigator.mediaDevices?.enumerateDevices()) ?? [];
  return devices
    .filter(({ kind, deviceId }) => kind === "audioinput" && deviceId !== "")
    .map(({ deviceId, label }, index) => {
      return { id: deviceId, label: label || `Microphone ${index + 1}` };
    });
}
