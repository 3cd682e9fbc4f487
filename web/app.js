// The page: two tabs, of which one has the microphone at a time.

import { dictation } from "./dictation.js";
import { Tabs } from "./tabs.js";
import { talk } from "./talk.js";
import { choices, welcome } from "./welcome.js";

dictation.begin();
talk.begin();
const tabs = new Tabs(document.querySelector("[role=tablist]"));
tabs.addEventListener("change", ({ detail }) => {
  if (detail === "dictation") {
    talk.leave();
  } else {
    dictation.leave();
    talk.enter();
  }
});
tabs.begin();
void choices.showMicrophones();
void welcome();
