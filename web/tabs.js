// Tabs as ARIA describes them: one stop for the tab key, arrows between them, kept in the address.

export class Tabs extends EventTarget {
  #tabs;

  /** `list` has buttons that name their panels in aria-controls. Event: change, with the name. */
  constructor(list) {
    super();
    this.#tabs = [...list.querySelectorAll("[role=tab]")];
    for (const tab of this.#tabs) {
      tab.addEventListener("click", () => this.#choose(tab));
      tab.addEventListener("keydown", (event) => this.#key(event));
    }
    globalThis.addEventListener("hashchange", () => this.begin());
  }

  /** Show the tab that the address names, else the first. */
  begin() {
    const name = location.hash.slice(1);
    const named = this.#tabs.find((tab) => tab.getAttribute("aria-controls") === name);
    this.#show(named ?? this.#tabs[0]);
  }

  #choose(tab) {
    history.replaceState(null, "", `#${tab.getAttribute("aria-controls")}`);
    this.#show(tab);
  }

  #key(event) {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!step) return;
    event.preventDefault();
    const { length } = this.#tabs;
    const tab = this.#tabs[(this.#tabs.indexOf(event.target) + step + length) % length];
    tab.focus();
    this.#choose(tab);
  }

  #show(chosen) {
    for (const tab of this.#tabs) {
      const name = tab.getAttribute("aria-controls");
      const panel = document.getElementById(name);
      tab.setAttribute("aria-selected", String(tab === chosen));
      tab.tabIndex = tab === chosen ? 0 : -1;
      const came = tab === chosen && panel.hidden;
      panel.hidden = tab !== chosen;
      if (came) this.dispatchEvent(new CustomEvent("change", { detail: name }));
    }
  }
}
