// views/ports.js: the bench. One card a port; a card is built once and then only its values change.
import { answerDialog, calibrateDialog, cancelDialog, portDialog } from "../dialogs.js";
import { api, recipeOnce } from "../api.js";
import { el, fill, icon, setAttr, setIcon, setText, show, toast } from "../dom.js";
import {
  between, bytesOf, duration, isOpen, jobShare, modeWord, portName, portResult, portState, resultText, speed, stepIndex, waitWords,
} from "../format.js";
import { changed, jobOf, live, onChange, putJob, takesWork } from "../live.js";

const recipeSteps = new Map(); // recipe -> its steps, filled as recipes arrive

function stepsOf(job) {
  if (!recipeSteps.has(job.recipe)) {
    recipeSteps.set(job.recipe, null);
    recipeOnce(job.recipe).then((r) => (recipeSteps.set(job.recipe, r?.steps ?? null), changed()));
  }
  return recipeSteps.get(job.recipe);
}

function stepText(job) {
  const steps = stepsOf(job);
  const at = stepIndex(steps, job.step);
  return at >= 0 ? `${at + 1}/${steps.length} ${steps[at].name}` : job.step ?? "";
}

// What a person must read is never cut: a long prompt or result is set smaller until it fits its card.
function fitCard({ node, part }) {
  const read = [node.firstChild, part.prompt, part.promptTodo, part.result, part.advice];
  const cut = (n) => n.scrollHeight > n.clientHeight + 1 || n.scrollWidth > n.clientWidth + 1;
  for (const size of [null, "small", "smaller", "smallest"]) {
    setAttr(node, "data-fit", size);
    if (!read.some((n) => !n.hidden && cut(n))) return;
  }
}

// The first job that waits for the port without holding it: to be tried again, or paused before the station was
// restarted. One that was interrupted there comes before it.
function waitingOn(port) {
  let first;
  if (portResult(port)?.state === "interrupted") return first;
  for (const job of live.jobs.values())
    if (job.port === port.id && ["queued", "waiting", "paused"].includes(job.state) && !(Number(first?.id) < Number(job.id))) first = job;
  return first;
}

const currentJob = (port) => (port.job_id ? jobOf(port.job_id) : waitingOn(port));
const lastJob = (port) => (currentJob(port) || port.job_id ? undefined : jobOf(portResult(port)?.job_id));

export const portTone = (port) => portState(port, currentJob(port), lastJob(port))[2];

async function resume(id) {
  try {
    await putJob(id, api.jobVerb(id, "resume"));
    toast(`Job ${id} goes on.`);
  } catch (problem) {
    toast(`${problem.message} ${problem.advice}`);
  }
}

function buildCard(port) {
  const part = {
    label: el("button", { type: "button", class: "plain" }),
    id: el("p", { class: "id" }),
    symbol: icon("idle"),
    state: el("span", { class: "word" }),
    who: el("p", { class: "who" }),
    mode: el("p", { class: "mode" }),
    prompt: el("div", { class: "prompt" }),
    promptText: el("strong"),
    promptTodo: el("p"),
    step: el("p", { class: "step" }),
    share: el("p", { class: "share" }),
    bar: el("progress", { max: 1, value: 0, "aria-label": "Share of the job" }),
    moved: el("span"),
    rate: el("span"),
    eta: el("span"),
    numbers: el("p", { class: "numbers" }),
    result: el("p", { class: "result" }),
    advice: el("p", { class: "advice" }),
    link: el("a", { class: "button" }, "Job"),
    answer: el("button", { type: "button", class: "primary" }, "Answer"),
    resume: el("button", { type: "button", class: "primary" }, "Resume"),
    cancel: el("button", { type: "button", class: "quiet" }, "Cancel"),
  };
  part.prompt.append(part.promptText, part.promptTodo);
  part.numbers.append(part.moved, part.rate, part.eta);
  part.actions = el("div", { class: "actions" }, part.answer, part.resume, part.link, part.cancel);
  part.stateLine = el("p", { class: "state" }, part.symbol, part.state);
  const node = el("article", { class: "card", tabindex: 0, "data-port": port.id },
    el("div", { class: "card-in" },
      el("div", { class: "top" }, el("h2", null, part.label), part.stateLine), part.id,
      part.who, part.prompt, part.step, part.numbers, part.share, part.bar, part.result, part.advice, part.mode, part.actions));
  const card = { node, part, job: null, fitKey: "" };
  part.label.addEventListener("click", () => portDialog(live.ports.get(port.id)));
  part.answer.addEventListener("click", () => answerDialog(card.job));
  part.resume.addEventListener("click", () => resume(card.job.id));
  part.cancel.addEventListener("click", () => cancelDialog(card.job));
  node.addEventListener("keydown", (e) => {
    if (e.target === node && e.key === "Enter" && part.link.href) part.link.click();
  });
  return card;
}

function updateProgress(part, job) {
  const running = job?.state === "running" || job?.state === "paused";
  show(part.bar, running);
  show(part.share, running);
  show(part.numbers, running);
  if (!running) return;
  const share = jobShare(job, stepsOf(job));
  setAttr(part.bar, "value", share.toFixed(4));
  setText(part.share, `${Math.floor(share * 100)} %`);
  const p = job.progress;
  const moving = p?.total_bytes > 0;
  setText(part.moved, moving ? bytesOf(p.done_bytes, p.total_bytes) : "");
  setText(part.rate, moving && p.bytes_per_s > 0 ? speed(p.bytes_per_s) : "");
  setText(part.eta, moving && typeof p.eta_s === "number" ? `${duration(p.eta_s)} left` : "");
}

function updateResult(part, port, job, last) {
  const shown = job ? null : last;
  const text = port.trouble || (job ? waitWords(job) : portResult(port) ? resultText(last, port.last) : "");
  setText(part.result, text);
  show(part.result, Boolean(text));
  const advice = job?.waits_for ? job.error?.advice : shown?.error?.advice;
  setText(part.advice, advice);
  show(part.advice, Boolean(advice));
}

function whoText(port, job, last) {
  const shown = job ?? last;
  if (shown?.serial) return shown.ended_at && shown.started_at ? `${shown.serial} · ${between(shown.started_at, shown.ended_at)}` : shown.serial;
  return port.usb_serial ?? "";
}

function modeText(port, job, behind) {
  if (port.state === "disabled") return "This port takes no work.";
  if (port.state === "empty" && !portResult(port) && !job) return "Ready. Start a new job, then plug the phone in.";
  const mode = port.mode === "none" ? "No phone on the wire" : `Mode: ${modeWord(port.mode)}`;
  return behind ? `${mode} · ${behind} more ${behind === 1 ? "job" : "jobs"} queued` : mode;
}

// behind: open jobs for this port that wait for the one on it.
function updateCard(card, port, behind) {
  const { node, part } = card;
  const job = currentJob(port), last = lastJob(port);
  const [word, symbol, tone] = portState(port, job, last);
  card.job = job ?? last ?? null;
  setAttr(node, "data-tone", tone);
  setAttr(node, "aria-label", `Port ${portName(port)}: ${word}`);
  setText(part.label, portName(port));
  setAttr(part.label, "title", port.id);
  setText(part.id, port.label ? "" : port.id);
  part.symbol = setIcon(part.symbol, symbol);
  setText(part.state, word);
  setText(part.who, whoText(port, job, last));
  setText(part.mode, modeText(port, job, behind));
  const prompt = job?.prompt;
  show(part.prompt, Boolean(prompt));
  setText(part.promptText, prompt?.text);
  setText(part.promptTodo, prompt?.todo);
  setText(part.step, job && !prompt ? stepText(job) : "");
  updateProgress(part, job);
  updateResult(part, port, job, last);
  show(part.answer, prompt?.answered_by === "person");
  show(part.resume, ["paused", "interrupted"].includes(card.job?.state));
  show(part.cancel, Boolean(job && isOpen(job)));
  show(part.link, Boolean(card.job));
  if (card.job) setAttr(part.link, "href", `#/jobs/${card.job.id}`);
  else part.link.removeAttribute("href");
  setText(part.link, card.job ? `Job ${card.job.id}` : "");
  const fitKey = [part.promptText, part.promptTodo, part.result, part.advice].map((n) => n.textContent).join("\n");
  if (fitKey !== card.fitKey) {
    card.fitKey = fitKey;
    fitCard(card);
  }
}

// Open jobs that no card shows: behind another one on their port, or for any port.
function queuedJobs() {
  const behind = new Map();
  let anywhere = 0;
  for (const job of live.jobs.values()) {
    if (!isOpen(job)) continue;
    const port = live.ports.get(job.port);
    if (!job.port) anywhere++;
    else if (port && currentJob(port)?.id !== job.id) behind.set(port.id, (behind.get(port.id) ?? 0) + 1);
  }
  return { behind, anywhere };
}

function anywhereWords(count) {
  const jobs = `${count} ${count === 1 ? "job waits" : "jobs wait"}`;
  return takesWork() ? `${jobs} for the next phone on a port that takes work.`
    : `${jobs}, and no port takes jobs that name none: open a port by its name and switch that on.`;
}

// A1 before A2 before A10, whatever order they came in.
const byName = (a, b) => portName(a).localeCompare(portName(b), undefined, { numeric: true });

// On a wall screen all cards fit without scrolling: the number of columns that gives the best-shaped cards.
function columnsFor(count, width, height) {
  let best = 1, bestScore = -1;
  for (let columns = 1; columns <= count; columns++) {
    const rows = Math.ceil(count / columns);
    const w = width / columns, h = height / rows;
    const score = Math.min(w, h * 1.15) - (columns * rows - count) * 2;
    if (score > bestScore) [best, bestScore] = [columns, score];
  }
  return best;
}

function layout(grid, count) {
  const wide = window.innerWidth >= 1000 && window.innerHeight >= 600;
  const height = window.innerHeight - grid.getBoundingClientRect().top - window.scrollY - 12;
  const columns = wide ? columnsFor(count, grid.clientWidth, height) : 0;
  const rows = columns ? Math.ceil(count / columns) : 0;
  const cardHeight = rows ? (height - (rows - 1) * 10) / rows : 0;
  const fit = columns > 0 && cardHeight >= 190;
  grid.classList.toggle("fit", fit);
  grid.classList.toggle("dense", fit && cardHeight < 330);
  grid.style.setProperty("--columns", String(columns || 1));
  grid.style.setProperty("--card-height", fit ? `${Math.min(cardHeight, 560)}px` : "auto");
}

// Arrow keys go from card to card.
function arrows(grid, e) {
  const cards = [...grid.children];
  const at = cards.indexOf(document.activeElement);
  const columns = getComputedStyle(grid).gridTemplateColumns.split(" ").length;
  const by = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: columns, ArrowUp: -columns }[e.key];
  if (at < 0 || !by) return;
  e.preventDefault();
  cards[at + by]?.focus();
}

function emptyBench() {
  return el("section", { class: "empty" }, icon("phone"),
    el("h2", null, "No port has shown a phone yet"),
    el("p", null, "Plug a phone into any USB port of this station: the port appears here and keeps its place. So do those of a USB/IP rack (flashrackd --usbip)."),
    el("p", null, el("a", { class: "button primary", href: "#/new" }, "New job"), " ",
      el("a", { class: "button", href: "#/firmware" }, "Add firmware"), " ",
      el("button", { type: "button", onclick: () => calibrateDialog().catch((problem) => toast(problem.message)) }, "Label ports")));
}

export function portsView(main) {
  const grid = el("section", { class: "bench", "aria-label": "Ports" });
  const anywhereText = el("span");
  const anywhere = el("p", { class: "anywhere", hidden: true }, anywhereText, " ", el("a", { href: "#/jobs" }, "Show jobs"));
  const cards = new Map();
  let order = "", top = 0;
  main.className = "wide";
  const resized = () => {
    top = grid.offsetTop;
    layout(grid, live.ports.size);
    cards.forEach(fitCard);
  };

  const update = () => {
    if (!live.loaded) {
      if (!main.firstChild) fill(main, el("p", { class: "note" }, "Loading the bench …"));
      return;
    }
    const ports = [...live.ports.values()].sort(byName);
    if (ports.length === 0) {
      order = "";
      fill(main, emptyBench());
      return;
    }
    for (const port of ports) if (!cards.has(port.id)) cards.set(port.id, buildCard(port));
    const wanted = ports.map((p) => p.id).join(" ");
    if (wanted !== order) {
      order = wanted;
      grid.replaceChildren(...ports.map((p) => cards.get(p.id).node));
      if (grid.parentNode !== main) fill(main, anywhere, grid);
      top = 0; // laid out anew below
    }
    const queued = queuedJobs();
    show(anywhere, queued.anywhere > 0);
    setText(anywhereText, anywhereWords(queued.anywhere));
    for (const port of ports) updateCard(cards.get(port.id), port, queued.behind.get(port.id) ?? 0);
    if (grid.offsetTop !== top) resized(); // a line above it came or went
  };
  const key = (e) => arrows(grid, e);
  const stop = onChange(update);
  window.addEventListener("resize", resized);
  grid.addEventListener("keydown", key);
  update();
  return () => {
    stop();
    window.removeEventListener("resize", resized);
  };
}
