// Builds what is shown from what the node has said. Every text from the node is set as text, never as markup.
// Owns no state: what was focused stays focused, because what has not changed is not built anew.

const SVG = "http://www.w3.org/2000/svg";
const STAGES = ["waiting", "searching", "connecting", "proving", "deciding", "storing"];
const SINGLETONS = new Set(["supervisor", "zygote"]);

export function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === false || value === null) continue;
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else made.setAttribute(name, value === true ? "" : value);
  }
  made.append(...children.filter((child) => child !== null));
  return made;
}

export const checkText = (check) => `${check.slice(0, 3)} ${check.slice(3)}`;

function qrImage(qr) {
  const image = document.createElementNS(SVG, "svg");
  image.setAttribute("class", "qr");
  image.setAttribute("viewBox", `0 0 ${qr.side} ${qr.side}`);
  image.setAttribute("role", "img");
  image.setAttribute("aria-label", "QR code with the same words");
  image.setAttribute("shape-rendering", "crispEdges");
  const path = document.createElementNS(SVG, "path");
  path.setAttribute("d", qr.path);
  image.append(path);
  return image;
}

function stageList(state) {
  const at = STAGES.indexOf(state.stage);
  const own = state.role === "initiator" ? STAGES.filter((s) => s !== "searching") : STAGES.filter((s) => s !== "waiting");
  const items = own.map((stage) => {
    const current = STAGES.indexOf(stage) === at && state.outcome === null;
    return element(
      "li",
      { "aria-current": current ? "step" : false, class: STAGES.indexOf(stage) < at ? "passed" : false },
      stage,
    );
  });
  return element("ol", { class: "stages", "aria-label": "Stages" }, ...items);
}

function codeParts(state) {
  const words = element("ol", { class: "words", "aria-label": "The twelve words" }, ...state.words.map((word) => element("li", {}, word)));
  const timer = element("p", { class: "quiet-text", "data-expires": String(performance.now() + (state.expires_in ?? 0) * 1000) });
  return [element("p", {}, "Enter these words on the other device, or scan the code with it."), words, state.qr && qrImage(state.qr), timer];
}

function decisionParts(state, decide) {
  const { name, os } = state.device;
  const check = checkText(state.check);
  const parts = [
    element("p", {}, "The other device is ", element("strong", {}, name), os ? ` (${os})` : "", ". It shows this check value:"),
    element("p", { class: "check" }, check),
  ];
  if (state.accepted === null && state.outcome === null) {
    parts.push(
      element("p", {}, "Accept only if both devices show the same."),
      element(
        "div",
        { class: "row" },
        element("button", { type: "button", "data-action": "accept", onclick: (event) => decide(event.currentTarget, true) }, `Accept ${name}, ${check}`),
        element("button", { type: "button", class: "danger", "data-action": "refuse", onclick: (event) => decide(event.currentTarget, false) }, `Refuse ${name}`),
      ),
    );
  } else if (state.outcome === null) {
    parts.push(element("p", {}, state.accepted ? "You accepted. Waiting for the other device." : "You refused."));
  }
  return parts;
}

export function outcomeText(state) {
  const seconds = state.seconds === null ? "" : ` in ${state.seconds.toFixed(1)} s`;
  if (state.outcome === "paired") return `Paired with ${state.device?.name ?? "the other device"}${seconds}.`;
  return state.message || `The pairing ended: ${state.outcome}.`;
}

export function sessionParts(state, actions) {
  const title = state.role === "initiator" ? "This device shows a code" : "This device looks for a code";
  const parts = [element("h3", { tabindex: "-1" }, title), stageList(state)];
  if (state.outcome === null && state.words) parts.push(...codeParts(state));
  if (state.device && state.check) parts.push(...decisionParts(state, actions.decide));
  if (state.outcome !== null) {
    parts.push(element("p", { class: state.outcome === "paired" ? "ended paired" : "ended" }, outcomeText(state)));
    if (state.fingerprint) parts.push(element("p", { class: "quiet-text" }, `Fingerprint ${state.fingerprint}, ${state.path ?? ""} over ${state.transport ?? "?"}`));
  } else if (state.accepted === null) {
    parts.push(element("div", { class: "row" }, element("button", { type: "button", class: "quiet", "data-action": "cancel", onclick: actions.cancel }, "Cancel this pairing")));
  }
  return parts.filter((part) => part !== null);
}

export function deviceParts(device, actions) {
  const paired = new Date(device.paired_at * 1000).toLocaleDateString();
  const state = device.state === "paired" ? `Paired on ${paired}` : "Unconfirmed: it grants nothing yet";
  return [
    element("h3", { tabindex: "-1" }, device.name),
    element("p", { class: "quiet-text" }, [device.os, state].filter(Boolean).join(" · ")),
    element("p", { class: "quiet-text" }, `Fingerprint ${device.fingerprint}`),
    element(
      "div",
      { class: "row" },
      element("button", { type: "button", class: "quiet", "data-action": "rename", "aria-label": `Rename ${device.name}`, onclick: actions.rename }, "Rename"),
      element("button", { type: "button", class: "danger", "data-action": "forget", "aria-label": `Revoke ${device.name}`, onclick: actions.forget }, "Revoke"),
    ),
  ];
}

export function statusParts(status) {
  const rows = [
    ["State", status.ready ? "ready" : `not ready: ${status.missing.join(", ")}`],
    ["Reachable from", status.reachability || "not known yet"],
    ["Addresses", status.addresses.join(", ") || "none yet"],
    ["DHT", `${status.dht_peers} peers`],
    ["Pairings", `${status.sessions_active} of ${status.sessions_limit} at once`],
    ["Peer id", status.peer_id],
    ["Version", status.version],
  ];
  return rows.flatMap(([name, value]) => [element("dt", {}, name), element("dd", {}, value)]);
}

function span(seconds) {
  if (seconds < 60) return `${Math.floor(seconds)} s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min`;
  return seconds < 86400 ? `${Math.floor(seconds / 3600)} h` : `${Math.floor(seconds / 86400)} d`;
}

function numbersText(process) {
  const restarts = process.restarts === 1 ? "1 restart" : `${process.restarts} restarts`;
  return [process.state, restarts, span(process.uptime_seconds), `${(process.private_bytes / 1048576).toFixed(1)} MB`].join(" · ");
}

function processItem(process, below) {
  const numbers = element("span", { class: "numbers", "data-actor": process.actor }, numbersText(process));
  const item = element("li", {}, element("strong", {}, process.actor), " ", numbers);
  if (below.length) item.append(element("ul", {}, ...below));
  return item;
}

// Shows the processes; while they are the same ones, only their numbers change, so that whoever reads or listens to
// the tree keeps their place.
export function showProcesses(place, list) {
  const numbers = [...place.querySelectorAll("[data-actor]")];
  const now = new Map(list.processes.map((process) => [process.actor, process]));
  if (numbers.length !== now.size || numbers.some((one) => !now.has(one.dataset.actor))) {
    place.replaceChildren(processTree(list));
    return;
  }
  for (const one of numbers) {
    const text = numbersText(now.get(one.dataset.actor));
    if (one.textContent !== text) one.textContent = text;
  }
}

// The supervisor starts the zygote, which forks all others.
function processTree({ processes, total }) {
  const leaves = processes.filter((p) => !SINGLETONS.has(p.actor)).map((p) => processItem(p, []));
  if (total > processes.length) leaves.push(element("li", {}, `and ${total - processes.length} more`));
  const named = (name) => processes.find((p) => p.actor === name);
  const zygote = named("zygote");
  const below = zygote ? [processItem(zygote, leaves)] : leaves;
  const supervisor = named("supervisor");
  return element("ul", { "aria-labelledby": "processes-title" }, ...(supervisor ? [processItem(supervisor, below)] : below));
}
