// api.js: requests to the station. Every failure is a Problem: what went wrong and what to do next.

export class Problem extends Error {
  constructor(status, document) {
    super(document.detail || document.title || `The station answered ${status}.`);
    this.status = status;
    this.code = document.code ?? "unknown";
    this.advice = document.advice ?? "";
  }
}

const DEADLINE_MS = 30000;
export const LONG_MS = 10 * 60 * 1000; // imports: a worker hashes gigabytes meanwhile

async function request(method, path, body, { deadlineMs = DEADLINE_MS, headers = {} } = {}) {
  const init = { method, headers: { Accept: "application/json", ...headers }, cache: "no-store" };
  if (method !== "GET") {
    init.headers["Content-Type"] = "application/json";
    init.body = JSON.stringify(body ?? {});
  }
  init.signal = AbortSignal.timeout(deadlineMs);
  let response;
  try {
    response = await fetch(`/api/v1${path}`, init);
  } catch {
    throw new Problem(0, {
      detail: "The station does not answer.",
      code: "no_answer",
      advice: "Check that flashrackd runs and that this screen reaches it.",
    });
  }
  const document = await response.json().catch(() => ({}));
  if (!response.ok) throw new Problem(response.status, document);
  return document;
}

const query = (parameters) => {
  const given = Object.entries(parameters ?? {}).filter(([, v]) => v !== undefined && v !== null && v !== "");
  return given.length ? `?${new URLSearchParams(given)}` : "";
};

// One key an order: a second click, or a repeat after a lost answer, is the same order.
export function orderKey() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (b) => b.toString(16).padStart(2, "0")).join("");
}

const id = encodeURIComponent;

// Answers 503 with the same body while something keeps the station from its work.
async function ready() {
  const response = await fetch("/readyz", { cache: "no-store", signal: AbortSignal.timeout(DEADLINE_MS) });
  return response.json();
}

export const api = {
  ready,
  ports: () => request("GET", "/ports"),
  topology: () => request("GET", "/ports/topology"),
  calibration: () => request("GET", "/calibration"),
  calibrationBegin: () => request("POST", "/calibration/begin"),
  calibrationLabel: (label) => request("POST", "/calibration/label", { label }),
  calibrationEnd: () => request("POST", "/calibration/end"),
  portChange: (port, change) => request("PATCH", `/ports/${id(port)}`, change),
  jobs: (parameters) => request("GET", `/jobs${query(parameters)}`),
  job: (job) => request("GET", `/jobs/${id(job)}`),
  jobLog: (job, parameters) => request("GET", `/jobs/${id(job)}/log${query(parameters)}`),
  reportUrl: (job) => `/api/v1/jobs/${id(job)}/report`,
  jobAdd: (order, key) => request("POST", "/jobs", order, { headers: { "Idempotency-Key": key } }),
  jobVerb: (job, verb, body) => request("POST", `/jobs/${id(job)}/${verb}`, body),
  jobAnswer: (job, answer) => request("POST", `/jobs/${id(job)}/answer`, answer),
  phones: (parameters) => request("GET", `/phones${query(parameters)}`),
  phone: (phone) => request("GET", `/phones/${id(phone)}`),
  conflicts: (parameters) => request("GET", `/conflicts${query(parameters)}`),
  conflict: (conflict) => request("GET", `/conflicts/${id(conflict)}`),
  conflictResolve: (conflict, decision) => request("POST", `/conflicts/${id(conflict)}/resolve`, decision),
  backups: (parameters) => request("GET", `/backups${query(parameters)}`),
  backup: (backup) => request("GET", `/backups/${id(backup)}`),
  backupImport: (body) => request("POST", "/backups", body, { deadlineMs: LONG_MS }),
  exportUrl: (backup) => `/api/v1/backups/${id(backup)}/export`,
  partitionUrl: (backup, name) => `/api/v1/backups/${id(backup)}/partitions/${id(name)}`,
  firmware: (parameters) => request("GET", `/firmware${query(parameters)}`),
  firmwareOne: (firmware) => request("GET", `/firmware/${id(firmware)}`),
  firmwareAdd: (body) => request("POST", "/firmware", body, { deadlineMs: LONG_MS }),
  failures: () => request("GET", "/failures"),
  recipes: () => request("GET", "/recipes"),
  recipe: (name) => request("GET", `/recipes/${id(name)}`),
};

const recipes = new Map();
// A recipe does not change while the station runs, so it is asked for once.
export function recipeOnce(name) {
  if (!recipes.has(name)) recipes.set(name, api.recipe(name).catch(() => (recipes.delete(name), null)));
  return recipes.get(name);
}
