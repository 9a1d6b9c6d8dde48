// views/topology.js: the rack as it is wired: controllers, the hubs in them, every socket, also the empty ones.
import { api } from "../api.js";
import { calibrateDialog, portDialog, problemBox } from "../dialogs.js";
import { el, fill, icon, toast } from "../dom.js";
import { modeWord, portName, portState } from "../format.js";
import { live, onChange } from "../live.js";

const READ_EVERY_MS = 3000; // hubs come and go without an event

const KINDS = {
  controller: "Controller", rack: "USB/IP rack", full_speed: "USB 1 hub", single_tt: "Single-TT hub", multi_tt: "Multi-TT hub",
};

const now = (port) => (port ? live.ports.get(port.id) ?? port : null);

function portButton(port) {
  const [word, symbol, tone] = portState(port);
  return [el("button", { type: "button", class: "plain", title: port.id, onclick: () => portDialog(live.ports.get(port.id) ?? port) }, portName(port)),
    el("span", { class: "tag", "data-tone": tone }, icon(symbol), word),
    port.mode === "none" ? null : el("span", { class: "note" }, modeWord(port.mode))];
}

function socketNode(socket) {
  const port = now(socket.port);
  const number = socket.number === null ? null : el("span", { class: "number" }, String(socket.number));
  if (socket.hub) return el("li", { class: "with-hub" }, number, hubNode(socket.hub));
  return el("li", { "data-socket": socket.id }, number,
    port ? portButton(port) : el("span", { class: "note", title: socket.id }, "empty, never used"));
}

const byPlace = (a, b) => (a.number ?? 0) - (b.number ?? 0) || a.id.localeCompare(b.id, undefined, { numeric: true });

function hubNode(hub) {
  const words = [hub.speed ? `${hub.speed} speed` : null, `${hub.sockets.length} ${hub.sockets.length === 1 ? "socket" : "sockets"}`,
    hub.self_powered === false ? "no power supply" : null].filter(Boolean).join(", ");
  return el("section", { class: "hub", "data-hub": hub.id },
    el("h2", null, KINDS[hub.kind] ?? hub.kind), el("p", { class: "note" }, el("code", null, hub.id), ` · ${words}`),
    hub.advice ? el("p", { class: "hub-advice" }, icon("warn"), " ", hub.advice) : null,
    el("ul", { class: "sockets" }, [...hub.sockets].sort(byPlace).map(socketNode)));
}

function build({ controllers, elsewhere }) {
  if (!controllers.length && !elsewhere.length)
    return el("div", { class: "empty" }, icon("phone"), el("h2", null, "No controller is watched"),
      el("p", null, "Start flashrackd without --no-usb, or with --usbip HOST:PORT."));
  return [controllers.map(hubNode), elsewhere.length
    ? el("section", { class: "hub" }, el("h2", null, "In no hub that is plugged in now"),
        el("ul", { class: "sockets" }, elsewhere.map((port) => el("li", { "data-socket": port.id }, portButton(now(port))))))
    : null];
}

export function topologyView(main) {
  const place = el("div", { class: "topology" }, el("p", { class: "note" }, "Loading …"));
  let topology = null, shown = "", ended = false;
  const draw = () => {
    if (!topology) return;
    const key = JSON.stringify([topology, [...live.ports.values()].map((p) => [p.id, p.label, p.state, p.mode, p.last?.state])]);
    if (key === shown || ended) return;
    shown = key;
    fill(place, build(topology));
  };
  const read = async () => {
    try {
      topology = await api.topology();
      draw();
    } catch (problem) {
      if (!topology && !ended) fill(place, problemBox(problem));
    }
  };
  const label = () => calibrateDialog().catch((problem) => toast(`${problem.message} ${problem.advice}`));
  fill(main, el("div", { class: "title" }, el("h1", null, "Rack"),
    el("div", { class: "actions" }, el("button", { type: "button", onclick: label }, "Label ports"))), place);
  read();
  const timer = setInterval(read, READ_EVERY_MS);
  const stop = onChange(draw);
  return () => {
    ended = true;
    clearInterval(timer);
    stop();
  };
}
