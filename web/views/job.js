// views/job.js: one job: what it is for, what it does now, its steps with every attempt, its log.
import { api, recipeOnce } from "../api.js";
import { answerDialog, cancelDialog, moveDialog, problemBox } from "../dialogs.js";
import { el, fill, icon, setAttr, setText, show, toast } from "../dom.js";
import { between, bytesOf, causeOf, duration, isOpen, jobShare, resultText, speed, stepIndex, when } from "../format.js";
import { live, onChange, onLog, putJob } from "../live.js";
import { portLabel, stateTag } from "./jobs.js";
import { facts } from "./list.js";

const LOG_SHOWN = 2000;

const STEP_STATES = { running: "run", done: "done", failed: "fail", skipped: "off", interrupted: "warn", next: "idle" };
const STEP_WORDS = { running: "running", done: "done", failed: "failed", skipped: "skipped", interrupted: "interrupted", next: "to come" };

const link = (path, id, text) => (id ? el("a", { href: `#/${path}/${id}` }, text ?? id) : null);

function jobFacts(job) {
  return facts([
    ["Recipe", job.recipe],
    ["Port", portLabel(job.port)],
    ["Serial", job.serial],
    ["IMEIs", job.imeis?.join(", ")],
    ["Phone", link("phones", job.phone_id)],
    ["Firmware", link("firmware", job.firmware)],
    ["Backup", link("backups", job.backup)],
    ["Finish", job.finish === "upgrade" ? "whole firmware" : job.finish === "lk" ? "commercial bootloader" : job.finish],
    ["Owner's reference", job.owner_ref],
    ["Client's reference", job.client_ref],
    ["Taken up again after its worker died in", job.crash_step],
    ["Created", when(job.created_at)],
    ["Started", when(job.started_at)],
    ["Ended", job.ended_at ? `${when(job.ended_at)}${job.started_at ? `, after ${between(job.started_at, job.ended_at)}` : ""}` : null],
  ]);
}

function stepRow(name, step) {
  const state = step?.state ?? "next";
  const time = step?.started_at ? between(step.started_at, step.ended_at) : "";
  return el("tr", { "data-state": state }, el("td", { "data-title": "Step" }, name),
    el("td", { "data-title": "State" }, el("span", { class: "tag" }, icon(STEP_STATES[state] ?? "idle"), STEP_WORDS[state] ?? state)),
    el("td", { "data-title": "Attempt" }, step ? String(step.attempt) : ""),
    el("td", { "data-title": "Began" }, when(step?.started_at)),
    el("td", { "data-title": "Took" }, time),
    el("td", { "data-title": "Remark" }, step?.error?.message ?? ""));
}

// Steps that ran, in order, then those of the recipe after the one it is in.
function stepsTable(job, recipe) {
  const planned = recipe?.steps ?? [];
  const title = (name) => planned[stepIndex(planned, name)]?.name ?? name;
  const rows = (job.steps ?? []).map((s) => stepRow(title(s.name), s));
  const at = stepIndex(planned, job.step);
  if (isOpen(job)) for (const s of planned.slice(at + 1)) rows.push(stepRow(s.name, null));
  return rows;
}

// The phone was plugged in elsewhere: a person who sees it there lets the job go on there.
function movedBox(job) {
  if (!job.seen_on) return null;
  const confirm = async () => {
    try {
      await putJob(job.id, api.jobVerb(job.id, "resume", { port: job.seen_on.port }));
      toast(`Job ${job.id} goes on there.`);
    } catch (problem) {
      toast(`${problem.message} ${problem.advice}`);
    }
  };
  return el("section", { class: "prompt-box", "data-tone": "hand" }, icon("hand"),
    el("div", null, el("h2", null, job.seen_on.text),
      el("p", { class: "note" }, "Another phone is refused before anything is written to it."),
      el("button", { type: "button", class: "primary", onclick: confirm }, "The phone is there: continue")));
}

function promptBox(job) {
  if (!job.prompt) return null;
  return el("section", { class: "prompt-box", "data-tone": "hand" }, icon("hand"),
    el("div", null, el("h2", null, job.prompt.text), el("p", null, job.prompt.todo),
      job.prompt.answered_by === "person"
        ? el("button", { type: "button", class: "primary", onclick: () => answerDialog(live.jobs.get(job.id)) }, "Answer")
        : el("p", { class: "note" }, "Goes on by itself when the phone shows up.")));
}

function pendingBox(job) {
  if (!job.pending) return null;
  const what = job.pending === "cancel" ? "is cancelled" : "pauses";
  return el("section", { class: "prompt-box", "data-tone": "idle" }, icon("wait"),
    el("div", null, el("h2", null, `The job ${what} after the step it is in.`)));
}

function waitsBox(job) {
  if (!job.waits_for) return null;
  const again = job.retry_at ? `Tried again at ${when(job.retry_at)}.` : null;
  return el("section", { class: "prompt-box", "data-tone": "idle" }, icon("wait"),
    el("div", null, el("h2", null, `Waits: ${job.waits_for.text}`), again ? el("p", null, again) : null));
}

function resultBox(job) {
  const text = job.state === "succeeded" ? resultText(job) : "";
  if (!text) return null;
  return el("section", { class: "prompt-box", "data-tone": "done" }, icon("done"), el("h2", null, text));
}

function errorBox(job) {
  if (!job.error) return null;
  const cause = causeOf(job.error);
  return el("section", { class: "prompt-box", "data-tone": "fail" }, icon("fail"),
    el("div", null, el("h2", null, job.error.message), cause ? el("p", { class: "note" }, `Likely cause: ${cause}`) : null,
      job.error.advice ? el("p", null, job.error.advice) : null,
      el("p", { class: "note" }, `Code ${job.error.code}. `, el("a", { href: "#/help" }, "The phone shows something else?"))));
}

function actions(job) {
  const verb = (name, done) => async () => {
    try {
      await putJob(job.id, api.jobVerb(job.id, name));
      toast(done);
    } catch (problem) {
      toast(`${problem.message} ${problem.advice}`);
    }
  };
  const again = new URLSearchParams(Object.entries({ port: job.port, serial: job.serial, firmware: job.firmware, backup: job.backup, finish: job.finish }).filter(([, v]) => v));
  return isOpen(job)
    ? [job.state === "paused"
        ? el("button", { type: "button", onclick: verb("resume", "The job goes on.") }, "Resume")
        : el("button", { type: "button", onclick: verb("pause", "The job pauses after its step.") }, "Pause"),
      el("button", { type: "button", class: "danger", onclick: () => cancelDialog(job) }, "Cancel job")]
    : [job.state === "interrupted" ? el("button", { type: "button", class: "primary", onclick: verb("resume", "The job goes on.") }, "Resume") : null,
      job.state === "interrupted" ? el("button", { type: "button", onclick: () => moveDialog(job) }, "Continue on another port") : null,
      el("a", { class: "button", href: `#/new?${again}` }, "New job like this"),
      job.state === "interrupted" ? null : el("a", { class: "button", href: api.reportUrl(job.id), target: "_blank", rel: "noopener" }, "Report")].filter(Boolean);
}

function progressPart() {
  const bar = el("progress", { max: 1 });
  const text = el("p", { class: "numbers" });
  const node = el("div", null, bar, text);
  return {
    node,
    update(job, recipe) {
      const running = job.state === "running" || job.state === "paused";
      show(node, running);
      if (!running) return;
      const share = jobShare(job, recipe?.steps);
      setAttr(bar, "value", share.toFixed(4));
      const p = job.progress;
      setText(text, !(p?.total_bytes > 0) ? `${Math.floor(share * 100)} %` : [`${Math.floor(share * 100)} %`, bytesOf(p.done_bytes, p.total_bytes), p.bytes_per_s > 0 ? speed(p.bytes_per_s) : null,
        typeof p.eta_s === "number" ? `${duration(p.eta_s)} left` : null].filter(Boolean).join(" · "));
    },
  };
}

function logPart(id) {
  const body = el("ol", { class: "log", tabindex: 0, "aria-label": "Log" });
  let lastSeq = 0;
  const add = (line) => {
    if (line.seq <= lastSeq) return;
    lastSeq = line.seq;
    const atEnd = body.scrollTop + body.clientHeight >= body.scrollHeight - 8;
    body.append(el("li", { "data-level": line.level }, el("time", null, when(line.at)), " ",
      el("b", null, line.level === "info" ? "" : line.level), " ", line.step ? el("i", null, `${line.step}: `) : null, line.message));
    while (body.children.length > LOG_SHOWN) body.firstChild.remove();
    if (atEnd) body.scrollTop = body.scrollHeight;
  };
  const early = []; // lines of the stream that came before the stored ones were read
  let stored = false;
  const stop = onLog((line) => line.job_id === id && (stored ? add(line) : early.push(line)));
  const load = async () => {
    let after;
    do {
      const page = await api.jobLog(id, { limit: 1000, after });
      page.items.forEach(add);
      after = page.next;
    } while (after);
    stored = true;
    early.forEach(add);
  };
  load().catch((problem) => body.append(el("li", null, problem.message)));
  return { node: body, stop };
}

export function jobView(main, id) {
  let recipe = null, ended = false, shownSteps = "";
  const top = el("div", { class: "title" });
  const boxes = el("div");
  const about = el("section");
  const progress = progressPart();
  const steps = el("tbody");
  const log = logPart(id);

  const draw = () => {
    const job = live.jobs.get(id);
    if (!job || ended) return;
    progress.update(job, recipe);
    const { progress: _, ...rest } = job;
    const key = JSON.stringify([rest, recipe !== null, portLabel(job.port)]);
    if (key === shownSteps) return;
    shownSteps = key;
    fill(top, el("h1", null, `Job ${id}`), stateTag(job.state), el("div", { class: "actions" }, actions(job)));
    fill(boxes, promptBox(job), movedBox(job), waitsBox(job), pendingBox(job), resultBox(job), errorBox(job));
    fill(about, jobFacts(job));
    steps.replaceChildren(...stepsTable(job, recipe));
  };
  // Events come without steps: they are read again when the step or state changes.
  let readFor = "";
  const read = async () => {
    const job = live.jobs.get(id);
    const key = `${job?.step} ${job?.state}`;
    if (job && key === readFor) return;
    readFor = key;
    try {
      await putJob(id, api.job(id));
      recipe ??= await recipeOnce(live.jobs.get(id).recipe);
      draw();
    } catch (problem) {
      if (!ended && !live.jobs.has(id)) fill(main, problemBox(problem), el("p", null, el("a", { href: "#/jobs" }, "All jobs")));
    }
  };
  const stop = onChange(() => (draw(), read()));
  fill(main, top, boxes, progress.node, about, el("h2", null, "Steps"),
    el("div", { class: "table" }, el("table", { class: "steps" },
      el("thead", null, el("tr", null, ["Step", "State", "Attempt", "Began", "Took", "Remark"].map((t) => el("th", { scope: "col" }, t)))), steps)),
    el("h2", null, "Log"), log.node);
  show(progress.node, false);
  read();
  return () => {
    ended = true;
    stop();
    log.stop();
  };
}
