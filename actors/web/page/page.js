// The page: what is shown where, and what each button does. Talks to the node through node.js only.

import { RefusedError, change, follow, forgetToken, keepToken, takeToken } from "./node.js";
import { deviceParts, element, outcomeText, sessionParts, showProcesses, statusParts, checkText } from "./views.js";

const byId = (id) => document.getElementById(id);
const MAX_ENDED = 128; // pairings that are over and still shown
const cards = new Map(); // by session or device id: { item, shown }
let focusSession = null; // the session that was started here and has not been shown yet

function say(text) {
  byId("announcer").textContent = text;
}

// Beside the field that it is about, else at the top of what is seen.
function showError(error, note) {
  if (error instanceof RefusedError && error.code === "token") return signIn(error.message);
  (note ?? byId("problem")).textContent = error.message;
}

// Asks the node; meanwhile the button that was pressed does nothing, but keeps the focus.
async function ask(button, path, body, note) {
  if (button.ariaDisabled === "true") return null;
  if (note) note.textContent = "";
  byId("problem").textContent = "";
  button.ariaDisabled = "true";
  try {
    return await change(path, body);
  } catch (error) {
    showError(error, note);
    return null;
  } finally {
    button.ariaDisabled = null;
  }
}

// Shows a card's parts if they have changed. Those that are as before stay, so that who has them read out is not
// interrupted; buttons are always new, for they act on what is shown now. One that had the focus has it again.
function showCard(list, id, shown, parts) {
  const known = cards.get(id);
  const text = JSON.stringify(shown);
  if (known?.shown === text) return;
  const item = known?.item ?? element("li", { "data-id": id });
  const focused = item.contains(document.activeElement) ? document.activeElement : null;
  const action = focused?.dataset.action;
  replaceParts(item, parts);
  if (!known) list.prepend(item);
  cards.set(id, { item, shown: text });
  if (!focused || item.contains(focused)) return;
  const same = action && item.querySelector(`[data-action="${action}"]`);
  if (same) same.focus();
  else focusTitle(item);
}

function replaceParts(item, parts) {
  const former = new Set([...item.children].filter((part) => !part.querySelector("button")));
  const wanted = parts.map((part) => {
    const same = [...former].find((old) => old.isEqualNode(part)) ?? part;
    former.delete(same);
    return same;
  });
  for (const old of [...item.children]) if (!wanted.includes(old)) old.remove();
  wanted.forEach((part, place) => {
    if (item.children[place] !== part) item.insertBefore(part, item.children[place] ?? null);
  });
}

function focusTitle(item) {
  item.querySelector("h3").focus();
}

function announce(former, state) {
  if (state.outcome !== null) {
    if (former?.outcome === null) say(outcomeText(state));
  } else if (state.device && state.check && !former?.device) {
    say(`${state.device.name} wants to pair. Its check value is ${checkText(state.check)}.`);
  } else if (former && former.stage !== state.stage) {
    say(`Pairing: ${state.stage}`);
  }
}

const states = new Map(); // by session id, the one that has changed last at the end

function showSession(state) {
  const former = states.get(state.session);
  states.delete(state.session);
  states.set(state.session, state);
  const shown = { ...state, expires_in: null };
  const decide = (button, accept) => ask(button, "decide", { session: state.session, accept, public_key: state.device.public_key });
  const cancel = (event) => ask(event.currentTarget, "cancel", { session: state.session });
  showCard(byId("sessions"), state.session, shown, sessionParts(state, { decide, cancel }));
  byId("no-sessions").hidden = true;
  tick();
  announce(former, state);
  if (focusSession === state.session) {
    focusSession = null;
    focusTitle(cards.get(state.session).item);
  }
  const ended = [...states.values()].filter((one) => one.outcome !== null);
  for (const old of ended.slice(0, -MAX_ENDED)) dropSession(old.session);
}

function dropSession(id) {
  const { item } = cards.get(id);
  if (item.contains(document.activeElement)) byId("content").focus();
  item.remove();
  cards.delete(id);
  states.delete(id);
  byId("no-sessions").hidden = states.size > 0;
}

function showDevices({ devices, total }) {
  const list = byId("devices");
  const there = new Set(devices.map((device) => device.id));
  for (const item of [...list.children]) {
    if (there.has(item.dataset.id)) continue;
    if (item.contains(document.activeElement)) byId("content").focus();
    cards.delete(item.dataset.id);
    item.remove();
  }
  for (const device of devices) {
    const rename = () => openRename(device);
    const forget = () => openForget(device);
    showCard(list, device.id, device, deviceParts(device, { rename, forget }));
  }
  byId("no-devices").hidden = devices.length > 0;
  byId("devices-title").textContent = total > devices.length ? `Devices (${devices.length} of ${total})` : "Devices";
}

let settleDialog = null; // of the dialog that is open

// Opens a dialog and returns whether it was affirmed; the browser gives the focus back to the button that opened it.
function openDialog(dialog) {
  settleDialog?.(false);
  dialog.returnValue = "no";
  dialog.showModal();
  return new Promise((done) => (settleDialog = done));
}

for (const dialog of document.querySelectorAll("dialog")) {
  // The event comes late: the dialog may be open again by then.
  dialog.addEventListener("close", () => {
    if (dialog.open) return;
    settleDialog?.(dialog.returnValue === "yes");
    settleDialog = null;
  });
}

async function openRename(device) {
  byId("rename-title").textContent = `Rename ${device.name}`;
  byId("new-name").value = device.name;
  if (!(await openDialog(byId("rename")))) return;
  byId("problem").textContent = "";
  try {
    await change("rename", { device: device.id, name: byId("new-name").value });
    say("Renamed.");
  } catch (error) {
    showError(error);
  }
}

async function openForget(device) {
  byId("forget-title").textContent = `Revoke ${device.name}?`;
  if (!(await openDialog(byId("forget")))) return;
  byId("problem").textContent = "";
  try {
    await change("forget", { device: device.id });
    say(`${device.name} is trusted no longer.`);
  } catch (error) {
    showError(error);
  }
}

let shownStatus = "";
let knownRun = null; // of the node: another one when all of it was started again

const views = {
  run({ run }) {
    // A node that was started again knows none of its former sessions, and will say nothing of them.
    if (knownRun !== null && run !== knownRun) [...states.keys()].forEach(dropSession);
    knownRun = run;
  },
  session: showSession,
  devices: showDevices,
  status(status) {
    if (JSON.stringify(status) === shownStatus) return;
    shownStatus = JSON.stringify(status);
    byId("node-name").textContent = status.name;
    document.title = `${status.name} – Spacedrive node`;
    byId("status").replaceChildren(...statusParts(status));
  },
  processes(list) {
    showProcesses(byId("processes"), list);
  },
  answers({ answers, message }) {
    showConnection(answers, answers ? "Connected." : message);
  },
};

function showConnection(good, text) {
  const line = byId("connection");
  if (line.textContent === text) return;
  line.textContent = text;
  line.classList.toggle("lost", !good);
}

function tick() {
  for (const timer of document.querySelectorAll("[data-expires]")) {
    const left = Math.max(0, Math.ceil((Number(timer.dataset.expires) - performance.now()) / 1000));
    timer.textContent = `Valid for ${Math.floor(left / 60)}:${String(left % 60).padStart(2, "0")}`;
  }
}

function signIn(note) {
  byId("node").hidden = true;
  byId("sign-in").hidden = false;
  byId("token-note").textContent = note;
  byId("problem").textContent = "";
  showConnection(false, "Not connected.");
  byId("token").focus();
}

async function run() {
  byId("sign-in").hidden = true;
  byId("node").hidden = false;
  await follow(
    (name, body) => views[name]?.(body),
    (there) => showConnection(there, there ? "Connected." : "The connection is lost; trying again …"),
  );
  forgetToken();
  signIn("This token is not valid. A node that was started again has another one.");
}

byId("token-form").addEventListener("submit", (event) => {
  event.preventDefault();
  keepToken(byId("token").value.trim());
  location.reload(); // nothing of another node stays
});

byId("start").addEventListener("click", async (event) => {
  const started = await ask(event.currentTarget, "start", {});
  if (started) showStarted(started.session);
});

byId("join-form").addEventListener("submit", async (event) => {
  event.preventDefault();
  const field = byId("code");
  const started = await ask(byId("join"), "join", { code: field.value.trim() }, byId("code-note"));
  if (!started) return;
  field.value = "";
  showStarted(started.session);
});

// The state may have come before the answer, or come after it.
function showStarted(session) {
  if (cards.has(session)) focusTitle(cards.get(session).item);
  else focusSession = session;
}

// Enter in the words sends them, as in a line.
byId("code").addEventListener("keydown", (event) => {
  if (event.key !== "Enter" || event.shiftKey) return;
  event.preventDefault();
  byId("join-form").requestSubmit();
});

// A link with a token, opened in a tab that shows the page already.
addEventListener("hashchange", () => {
  if (takeToken(true)) location.reload();
});

setInterval(tick, 1000);
if (takeToken()) run();
else signIn("");
