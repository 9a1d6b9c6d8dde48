// format.js: values in words. The words are those of the house; a state is never told by colour alone.

const MB = 1000 * 1000;

export function bytes(n) {
  if (n >= 1000 * MB) return `${(n / (1000 * MB)).toFixed(2)} GB`;
  if (n >= MB) return `${(n / MB).toFixed(n >= 100 * MB ? 0 : 1)} MB`;
  if (n >= 1000) return `${(n / 1000).toFixed(0)} kB`;
  return `${n} bytes`;
}

// "302 of 671 MB": the unit once, where both have it.
export function bytesOf(done, total) {
  const [, number, unit] = bytes(done).match(/^(\S+) (.*)$/);
  return bytes(total).endsWith(` ${unit}`) ? `${number} of ${bytes(total)}` : `${bytes(done)} of ${bytes(total)}`;
}

export const speed = (bytesPerS) => `${(bytesPerS / MB).toFixed(1)} MB/s`;

export function duration(seconds) {
  const s = Math.max(0, Math.round(seconds));
  const two = (n) => String(n).padStart(2, "0");
  return s >= 3600
    ? `${Math.floor(s / 3600)}:${two(Math.floor(s / 60) % 60)}:${two(s % 60)}`
    : `${Math.floor(s / 60)}:${two(s % 60)}`;
}

export const between = (from, to) => duration((new Date(to ?? Date.now()) - new Date(from)) / 1000);

export function when(text) {
  if (!text) return "";
  const date = new Date(text);
  const today = date.toDateString() === new Date().toDateString();
  return today ? date.toLocaleTimeString([], { hour12: false }) : date.toLocaleString([], { hour12: false });
}

// job state -> word, symbol, tone
export const JOB_STATES = {
  queued: ["Queued", "wait", "idle"],
  waiting: ["Waiting", "wait", "idle"],
  running: ["Running", "run", "run"],
  prompt: ["Needs a hand", "hand", "hand"],
  paused: ["Paused", "pause", "hand"],
  succeeded: ["Done", "done", "done"],
  failed: ["Failed", "fail", "fail"],
  cancelled: ["Cancelled", "off", "fail"],
  interrupted: ["Interrupted", "warn", "fail"],
};

const PORT_STATES = {
  empty: ["Empty", "idle", "idle"],
  connected: ["Phone connected", "phone", "idle"],
  busy: ["Running", "run", "run"],
  prompt: ["Needs a hand", "hand", "hand"],
  fault: ["Fault", "warn", "fail"],
  disabled: ["Disabled", "off", "idle"],
};

const MODES = {
  brom: "boot ROM",
  preloader: "preloader",
  da: "download agent",
  fastboot: "fastboot",
  android: "Android",
  other: "no phone of ours",
  none: "no phone",
};

export const modeWord = (mode) => MODES[mode] ?? mode;
export const jobState = (state) => JOB_STATES[state] ?? [state, "idle", "idle"];

// The result of the job before, until a phone comes that may be another one.
export const portResult = (port) => (port.last?.outdated ? null : port.last);

// What a port shows: the job on it, else the result of the job before, else itself.
export function portState(port, job, last) {
  if (port.state === "fault" || port.state === "disabled") return PORT_STATES[port.state];
  if (job) return jobState(job.state);
  if (portResult(port)) return jobState(last?.state ?? port.last.state);
  return PORT_STATES[port.state] ?? [port.state, "idle", "idle"];
}

// A port without a label: its place within its controller or rack; the whole id stands beside it.
const shortId = (id) => id.match(/^usbip-.*:\d+-(.+)$/)?.[1] ?? id.match(/-usb-0:(.+)$/)?.[1] ?? id;
export const portName = (port) => port.label || shortId(port.id);

// Steps of a job are named by id and name, "S7 write identity"; where in the recipe that is, or -1.
export const stepIndex = (steps, name) =>
  steps?.findIndex((s) => `${s.id} ${s.name}` === name || s.id === name || s.name === name) ?? -1;

// How much of a job is behind it: whole steps and the bytes of the one it is in.
export function jobShare(job, steps) {
  const p = job.progress;
  const within = p?.total_bytes > 0 ? Math.min(1, p.done_bytes / p.total_bytes) : 0;
  const at = stepIndex(steps, job.step);
  return at >= 0 ? (at + within) / steps.length : within;
}

// What a finished job did, from its own record.
export function resultText(job, last) {
  if (job?.state !== "succeeded") return last?.text || job?.error?.message || "";
  const writes = job.result?.writes ?? [];
  if (!writes.length) return last?.text && last.text !== job.serial ? last.text : "";
  const total = bytes(writes.reduce((sum, w) => sum + w.bytes, 0));
  return writes.every((w) => w.verified) ? `Restored: ${total} written and verified` : `${total} written`;
}

// The likely cause of a job's error, or "" where it says no more than the message; as usb/plan/failure.c does it.
export function causeOf(error) {
  const words = (text) => (text ?? "").toLowerCase().match(/[a-z0-9_]+/g) ?? [];
  const told = new Set(words(error?.message));
  return error?.code !== "cancelled" && words(error?.cause).some((word) => !told.has(word)) ? error.cause : "";
}

export function waitWords(job) {
  if (!job.waits_for) return "";
  return job.retry_at ? `${job.waits_for.text}; again at ${when(job.retry_at)}` : job.waits_for.text;
}

export const nameOf = (firmware) => [...new Set([firmware.name, firmware.version])].filter(Boolean).join(" · ");

export const isOpen = (job) => !["succeeded", "failed", "cancelled", "interrupted"].includes(job.state);
