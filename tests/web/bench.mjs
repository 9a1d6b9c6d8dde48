// bench.mjs: a station to test against: the one at FLASHRACK_URL, else a bench double of our own.
import { spawn } from "node:child_process";
import { once } from "node:events";
import { fileURLToPath } from "node:url";

const root = fileURLToPath(new URL("../../", import.meta.url));
export const givenUrl = process.env.FLASHRACK_URL ?? null;

// {url, stop()}; the double dies with us, because its stdin does.
export async function double(...options) {
  const program = process.env.BENCH_DOUBLE ?? `${root}build/dev/tests/web/bench-double`;
  const child = spawn(program, ["--web", `${root}web`, "--recipes", `${root}schema/recipes`, ...options], {
    stdio: ["pipe", "pipe", "inherit"],
  });
  const [line] = await Promise.race([once(child.stdout, "data"), once(child, "exit")]);
  if (!Buffer.isBuffer(line)) throw new Error(`bench-double ended with ${line}`);
  let ended = null;
  const stop = () => (ended ??= (async () => {
    child.stdin.end();
    const [code] = await once(child, "exit");
    if (code !== 0) throw new Error(`bench-double ended with ${code}`);
  })());
  return { url: String(line).trim(), stop };
}

// Waits for something to become true; the limit only ends a test that hangs.
export async function until(what, check, limitMs = 30000) {
  const end = Date.now() + limitMs;
  for (;;) {
    const value = await check();
    if (value) return value;
    if (Date.now() > end) throw new Error(`waited in vain: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

export async function call(url, method, path, body, headers = {}) {
  const response = await fetch(`${url}${path}`, {
    method,
    headers: { ...(method === "GET" ? {} : { "Content-Type": "application/json" }), ...headers },
    body: body === undefined || method === "GET" ? undefined : typeof body === "string" ? body : JSON.stringify(body),
  });
  const text = await response.text();
  const type = response.headers.get("content-type") ?? "";
  return { status: response.status, headers: response.headers, body: type.includes("json") ? JSON.parse(text) : text };
}
