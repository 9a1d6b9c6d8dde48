// app.js: header, navigation, and which view is shown. Views are functions (main, ...parts) that fill <main>
// and return a function that ends them.
import { el, fill, icon, setText, show } from "./dom.js";
import { live, onChange, start } from "./live.js";
import { portsView, portTone } from "./views/ports.js";
import { topologyView } from "./views/topology.js";
import { jobsView } from "./views/jobs.js";
import { jobView } from "./views/job.js";
import { orderView } from "./views/order.js";
import { phonesView, phoneView } from "./views/phones.js";
import { backupsView, backupView } from "./views/backups.js";
import { conflictsView, conflictView } from "./views/conflicts.js";
import { failuresView } from "./views/failures.js";
import { firmwareView, firmwareOneView } from "./views/firmware.js";

const ROUTES = [
  [/^\/?$/, portsView, "Bench", "/"],
  [/^\/topology$/, topologyView, "Rack", "/topology"],
  [/^\/jobs$/, jobsView, "Jobs", "/jobs"],
  [/^\/jobs\/([^/]+)$/, jobView, "Job", "/jobs"],
  [/^\/new$/, orderView, "New job", "/new"],
  [/^\/phones$/, phonesView, "Phones", "/phones"],
  [/^\/phones\/([^/]+)$/, phoneView, "Phone", "/phones"],
  [/^\/backups$/, backupsView, "Backups", "/backups"],
  [/^\/backups\/([^/]+)$/, backupView, "Backup", "/backups"],
  [/^\/conflicts$/, conflictsView, "Conflicts", "/conflicts"],
  [/^\/conflicts\/([^/]+)$/, conflictView, "Conflict", "/conflicts"],
  [/^\/firmware$/, firmwareView, "Firmware", "/firmware"],
  [/^\/firmware\/([^/]+)$/, firmwareOneView, "Firmware", "/firmware"],
  [/^\/help$/, failuresView, "Help", "/help"],
];
const NAVIGATION = [["/", "Bench"], ["/topology", "Rack"], ["/jobs", "Jobs"], ["/phones", "Phones"], ["/backups", "Backups"], ["/firmware", "Firmware"], ["/conflicts", "Conflicts"], ["/help", "Help"]];
const SUMMARY = [["run", "Running", "run"], ["hand", "Need a hand", "hand"], ["done", "Done", "done"], ["fail", "Failed", "fail"]];

const main = document.getElementById("main");
const lostLine = document.getElementById("lost");
const troubleLine = document.getElementById("trouble");
const counters = new Map();
const links = new Map();
let connection;

function buildHeader() {
  for (const [path, text] of NAVIGATION) links.set(path, el("a", { href: `#${path}` }, text));
  links.set("/new", el("a", { href: "#/new", class: "button primary" }, "New job"));
  const summary = el("ul", { class: "summary", "aria-label": "Ports by state" });
  for (const [tone, word, symbol] of SUMMARY) {
    const count = el("b", null, "0");
    counters.set(tone, { count, item: el("li", { "data-tone": tone }, icon(symbol), count, " ", el("span", null, word)) });
    summary.append(counters.get(tone).item);
  }
  connection = el("span", { class: "connection" }, "Connecting");
  fill(document.getElementById("top"),
    el("a", { href: "#/", class: "brand" }, "Flashrack"), summary,
    el("nav", { "aria-label": "Pages" }, [...links.values()]), connection);
}

function updateHeader() {
  const sums = { run: 0, hand: 0, done: 0, fail: 0 };
  for (const port of live.ports.values()) {
    const tone = portTone(port);
    if (tone in sums) sums[tone]++;
  }
  for (const [tone, { count, item }] of counters) {
    setText(count, String(sums[tone]));
    item.classList.toggle("none", sums[tone] === 0);
  }
  const open = live.conflicts.length;
  setText(links.get("/conflicts"), open ? `Conflicts (${open})` : "Conflicts");
  links.get("/conflicts").classList.toggle("alert", open > 0);
  const words = { connecting: "Connecting", live: "Live", lost: "Connection lost" };
  setText(connection, words[live.connection]);
  connection.dataset.state = live.connection;
  document.body.classList.toggle("stale", live.connection === "lost");
  show(lostLine, live.connection === "lost");
  if (live.connection === "lost")
    setText(lostLine, `Connection to the station lost at ${live.lostAt.toLocaleTimeString([], { hour12: false })}. ` +
      "What you see is from before. Phones go on by themselves; leave the cables in. Trying again …");
  show(troubleLine, live.connection === "live" && Boolean(live.trouble));
  setText(troubleLine, live.trouble);
  const hands = sums.hand ? `(${sums.hand} need a hand) ` : "";
  if (document.title !== hands + title) document.title = hands + title;
}

let end = null;
let title = "Flashrack";

function route() {
  const path = decodeURI(location.hash.slice(1) || "/").split("?")[0];
  const found = ROUTES.find(([pattern]) => pattern.test(path));
  end?.();
  document.querySelectorAll("dialog").forEach((dialog) => dialog.close()); // it was about the page before
  fill(main);
  main.className = "";
  if (found) {
    const [pattern, view, name, section] = found;
    title = `${name} · Flashrack`;
    for (const [link, node] of links) {
      if (link === section) node.setAttribute("aria-current", "page");
      else node.removeAttribute("aria-current");
    }
    end = view(main, ...path.match(pattern).slice(1)) ?? null;
  } else {
    end = null;
    fill(main, el("p", { class: "note" }, "There is no such page. ", el("a", { href: "#/" }, "Go to the bench")));
  }
  updateHeader();
  window.scrollTo(0, 0);
}

// n: new job, b: bench; not while somebody types.
function shortcut(e) {
  if (e.ctrlKey || e.metaKey || e.altKey || e.target.closest("input, select, textarea, dialog")) return;
  if (e.key === "n") location.hash = "#/new";
  else if (e.key === "b") location.hash = "#/";
  else return;
  e.preventDefault();
}

buildHeader();
onChange(updateHeader);
window.addEventListener("hashchange", () => {
  if (location.hash === "#main") return;
  route();
  if (!main.contains(document.activeElement)) main.focus({ preventScroll: true });
});
window.addEventListener("keydown", shortcut);
route();
start();
