// Keeps the screen on while the microphone is. Some browsers and power modes refuse.

export class WakeLock {
  #wanted = false;
  #lock = null;

  constructor() {
    document.addEventListener("visibilitychange", () => void this.#take());
  }

  /** A phone must not fall asleep from now on. */
  hold() {
    this.#wanted = true;
    void this.#take();
  }

  async release() {
    this.#wanted = false;
    const lock = this.#lock;
    this.#lock = null;
    await lock?.release();
  }

  // A hidden page loses the lock.
  async #take() {
    if (!this.#wanted || document.hidden) return;
    const lock = await navigator.wakeLock?.request("screen").catch(() => null);
    if (this.#wanted) this.#lock = lock ?? null;
    else await lock?.release();
  }
}
