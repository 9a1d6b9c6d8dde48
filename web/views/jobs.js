import { api } from "../api.js";
import { el, icon } from "../dom.js";
import { isOpen, jobState, portName, waitWords, when } from "../format.js";
import { live, onChange } from "../live.js";
import { listView } from "./list.js";

export function stateTag(state) {
  const [word, symbol, tone] = jobState(state);
  return el("span", { class: "tag", "data-tone": tone }, icon(symbol), word);
}

export const portLabel = (id) => (live.ports.has(id) ? portName(live.ports.get(id)) : id ?? "");

// Jobs that wait, in the order in which they get their turn.
function turnOf(job) {
  const queue = [...live.jobs.values()].filter((j) => j.waits_for && isOpen(j))
    .sort((a, b) => b.priority - a.priority || Number(a.id) - Number(b.id));
  const at = queue.findIndex((j) => j.id === job.id);
  return at >= 0 ? `${at + 1} of ${queue.length}` : "";
}

export function jobsView(main) {
  const list = listView(main, {
    title: "Jobs",
    load: api.jobs,
    columns: [
      ["Job", (j) => el("a", { href: `#/jobs/${j.id}` }, `Job ${j.id}`)],
      ["State", (j) => stateTag(j.state)],
      ["Turn", turnOf],
      ["Waits for", waitWords],
      ["Port", (j) => portLabel(j.port)],
      ["Serial", (j) => j.serial ?? ""],
      ["Step", (j) => j.step ?? ""],
      ["Result", (j) => j.error?.message ?? ""],
      ["Created", (j) => when(j.created_at)],
      ["Ended", (j) => when(j.ended_at)],
    ],
    empty: [el("h2", null, "No job yet"), el("p", null, "A job restores one phone."), el("a", { class: "button primary", href: "#/new" }, "New job")],
  });
  // Read again when a job was added, changed its state or waits for something else, not for each progress.
  const key = () => [...live.jobs.values()].map((j) => `${j.id}${j.state}${waitWords(j)}`).join();
  let seen = key();
  const stop = onChange(() => {
    const now = key();
    if (now !== seen) list.reload();
    seen = now;
  });
  return () => {
    stop();
    list.end();
  };
}
