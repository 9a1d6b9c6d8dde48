// live.js: what the bench looks like now. The event stream says `hello` each time it (re)connects; then the
// whole state is read afresh, and whatever came in meanwhile is put on top. So a reload, a lost connection
// and a restarted station all end in the same picture.
import { api } from "./api.js";
import { isOpen } from "./format.js";

const SILENCE_MS = 40000; // the station beats every 15 s
const RETRY_MS = 2000;
const READY_EVERY_MS = 5000; // no event tells of it
const RECENT_JOBS = 100;

export const live = {
  ports: new Map(), // id -> port
  jobs: new Map(), // id -> job
  conflicts: [], // open ones
  connection: "connecting", // connecting, live, lost
  lostAt: null,
  loaded: false,
  trouble: "", // what keeps the station from its work, and what to do
};

// Is there a port for jobs that name none?
export const takesWork = () => [...live.ports.values()].some((p) => p.takes_work && p.enabled !== false);

const listeners = new Set(); // called after changes, at most once a frame
const logListeners = new Set(); // called with each log line

export function onChange(fn) {
  listeners.add(fn);
  return () => listeners.delete(fn);
}

export function onLog(fn) {
  logListeners.add(fn);
  return () => logListeners.delete(fn);
}

// A wall screen stays open for weeks: of jobs that ended, those that ports show and the newest are kept.
const JOBS_KEPT = 500;
function prune() {
  if (live.jobs.size <= 2 * JOBS_KEPT) return;
  const shown = new Set([...live.ports.values()].flatMap((p) => [p.job_id, p.last?.job_id]));
  const old = [...live.jobs.values()].filter((j) => !isOpen(j) && !shown.has(j.id))
    .sort((a, b) => Number(a.id) - Number(b.id));
  for (const job of old.slice(0, live.jobs.size - JOBS_KEPT)) {
    live.jobs.delete(job.id);
    heard.delete(job.id);
  }
}

let changePending = false;
export function changed() {
  if (changePending) return;
  changePending = true;
  requestAnimationFrame(() => {
    changePending = false;
    prune();
    for (const fn of listeners) fn();
  });
}

const heard = new Map(); // job id -> how many events told of it

// Takes a job that a request answers. Events that came meanwhile are newer than the answer, so they stay on top;
// they come without the job's steps, and those are taken in any case.
export async function putJob(id, request) {
  const before = heard.get(id);
  const job = await request;
  const known = live.jobs.get(id);
  live.jobs.set(id, heard.get(id) === before ? { ...known, ...job } : { ...job, ...known, steps: job.steps ?? known?.steps });
  changed();
  return job;
}

const asked = new Set(); // jobs that were asked for by id
// The job, or undefined while it is being fetched.
export function jobOf(id) {
  if (!id) return undefined;
  if (!live.jobs.has(id) && !asked.has(id) && live.connection === "live") {
    asked.add(id);
    putJob(id, api.job(id)).catch(() => undefined);
  }
  return live.jobs.get(id);
}

// As `flashrack doctor` says it.
function troubleOf(health) {
  if (!health || health.ok) return "";
  if (health.damage) return `A database of the station is damaged: ${health.damage}. Stop flashrackd, keep the damaged files, put the newest copy in their place.`;
  if (!health.portwatch) return "flashrack-portwatch does not run: no phone is seen, no job starts. Restart it (systemctl restart flashrack-portwatch), or flashrackd.";
  if (health.disk?.trouble) return `Nothing can be stored: ${health.disk.trouble}. Make room in the station's data folder; flashrack doctor says more.`;
  return "The station's disk is as good as full: a job may not come to its end. Make room in its data folder; flashrack doctor says more.";
}

async function lookReady() {
  const trouble = await api.ready().then(troubleOf, () => live.trouble); // a lost station is told otherwise
  if (trouble !== live.trouble) changed();
  live.trouble = trouble;
}

let early = null; // events that came while the state was being read

async function reloadConflicts() {
  live.conflicts = (await api.conflicts({ state: "open" })).items;
  changed();
}

function apply({ type, body }) {
  if (type === "port") live.ports.set(body.id, body);
  else if (type === "job") {
    heard.set(body.id, (heard.get(body.id) ?? 0) + 1);
    live.jobs.set(body.id, { ...live.jobs.get(body.id), ...body });
  }
  else if (type === "log") for (const fn of logListeners) fn(body);
  else if (type === "phone" && (body.conflicts?.length || live.conflicts.length)) reloadConflicts().catch(() => undefined);
}

function received(type, text) {
  lastHeardMs = performance.now();
  const event = { type, body: JSON.parse(text) };
  if (early) early.push(event);
  apply(event);
  changed();
}

async function everyOpenJob() {
  const items = [];
  let after;
  do {
    const page = await api.jobs({ open: "true", limit: 1000, after });
    items.push(...page.items);
    after = page.next;
  } while (after);
  return items;
}

async function reload() {
  const since = [];
  early = since;
  const [ports, recent, open] = await Promise.all([api.ports(), api.jobs({ limit: RECENT_JOBS }), everyOpenJob(), reloadConflicts(), lookReady()]);
  if (early !== since) return; // a newer reload is under way
  early = null;
  asked.clear();
  live.ports = new Map(ports.items.map((p) => [p.id, p]));
  live.jobs = new Map([...recent.items, ...open].map((j) => [j.id, j]));
  since.forEach(apply);
  live.loaded = true;
  live.connection = "live";
  live.lostAt = null;
  changed();
}

let source = null;
let lastHeardMs = 0;

function lost() {
  if (live.connection !== "lost") live.lostAt = new Date();
  live.connection = "lost";
  changed();
}

function connect() {
  source?.close();
  lastHeardMs = performance.now();
  const mine = new EventSource("/api/v1/events");
  source = mine;
  const again = () => {
    lost();
    mine.close();
    if (source === mine) setTimeout(connect, RETRY_MS);
  };
  mine.addEventListener("hello", () => reload().catch(again));
  for (const type of ["port", "job", "log", "phone"])
    mine.addEventListener(type, (e) => received(type, e.data));
  mine.addEventListener("beat", () => (lastHeardMs = performance.now()));
  mine.addEventListener("error", again); // we read everything afresh, so we resume by ourselves
}

export function start() {
  connect();
  setInterval(() => live.connection === "live" && lookReady(), READY_EVERY_MS);
  setInterval(() => {
    if (performance.now() - lastHeardMs < SILENCE_MS) return;
    lost();
    connect();
  }, 5000);
}
