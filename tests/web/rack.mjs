// rack.mjs: runs a command against a real station with emulated phones whose identity is lost:
//
//   node rack.mjs [--phones N] [--profile tiny] -- node --test page.test.mjs
//
// The command finds FLASHRACK_URL and FLASHRACK_JOB (port, serial and numbers of the first phone) in its
// environment. Package and dumps are imported over the API; FLASHRACK_BUILD is the folder of the programs.
// Everything lies in a folder of its own and ends with the command, whose exit status is ours.
import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { mkdirSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { call, until } from "./bench.mjs";

const root = fileURLToPath(new URL("../../", import.meta.url));
const build = process.env.FLASHRACK_BUILD ?? `${root}build/release`;
const split = process.argv.indexOf("--");
const { values: options } = parseArgs({
  args: process.argv.slice(2, split),
  options: { phones: { type: "string", default: "1" }, profile: { type: "string", default: "tiny" } },
});
const command = process.argv.slice(split + 1);

const folder = mkdtempSync(`${tmpdir()}/flashrack-rack-`);
const children = [];

function run(program, ...args) {
  const { status, stdout } = spawnSync(`${build}/${program}`, args, { stdio: ["ignore", "pipe", "inherit"], encoding: "utf8" });
  if (status !== 0) throw new Error(`${program} ended with ${status}`);
  return stdout.trim();
}

// Starts a program and gives the first line on its stdout that matches.
async function start(program, pattern, ...args) {
  const child = spawn(`${build}/${program}`, args, { stdio: ["ignore", "pipe", "inherit"] });
  children.push(child);
  for await (const line of createInterface({ input: child.stdout })) {
    const found = line.match(pattern);
    if (found) {
      child.stdout.resume();
      return found[1];
    }
  }
  throw new Error(`${program} said nothing that fits ${pattern}`);
}

async function importAll(url, packageDir, phones) {
  const add = async (path, body) => {
    const answer = await call(url, "POST", `/api/v1/${path}`, body);
    if (answer.status !== 201) throw new Error(`${path}: ${answer.status} ${answer.body.detail}`);
  };
  await add("firmware", { path: packageDir });
  for (const phone of phones) await add("backups", { path: `${folder}/import/dumps/${phone.serial}.bin`, serial: phone.serial });
}

async function main() {
  const common = ["--profile", options.profile];
  mkdirSync(`${folder}/import`);
  mkdirSync(`${folder}/data`);
  const packageDir = run("x5-factory", "package", `${folder}/import`, ...common);
  run("x5-factory", "rack", "--state", `${folder}/rack`, "--phones", options.phones, "--dumps", `${folder}/import/dumps`, "--lost", ...common);
  const phones = JSON.parse(readFileSync(`${folder}/rack/rack.json`, "utf8"));
  const rack = await start("emulated-x5", /ready: .* on (\S+)$/, "--listen", "127.0.0.1:0", "--phones", options.phones,
    "--state", `${folder}/rack`, "--hands", "auto", "--hands-speed", "4");
  const url = await start("flashrackd", /^Flashrack is at (\S+)$/, "--listen", "127.0.0.1:0", "--data", `${folder}/data`,
    "--import-dir", `${folder}/import`, "--no-usb", "--usbip", rack, "--web", `${root}web`, "--schema", `${root}schema`, "--program-dir", build);
  await importAll(url, packageDir, phones);
  await until("ports", async () => (await call(url, "GET", "/api/v1/ports")).body.items.length === phones.length);
  const { serial, imeis, wlan_mac, bt_mac, bus_id } = phones[0];
  const job = { port: `usbip-${rack}-${bus_id}`, serial, numbers: { serial, imeis, wlan_mac, bt_mac } };
  const child = spawn(command[0], command.slice(1), {
    stdio: "inherit",
    env: { ...process.env, FLASHRACK_URL: url, FLASHRACK_JOB: JSON.stringify(job) },
  });
  const [code] = await once(child, "exit");
  return code ?? 1;
}

let status = 1;
try {
  status = await main();
} catch (error) {
  console.error(`rack: ${error.message}`);
} finally {
  for (const child of children.reverse()) {
    if (child.exitCode === null) {
      child.kill("SIGTERM");
      await once(child, "exit");
    }
  }
  rmSync(folder, { recursive: true, force: true });
}
process.exitCode = status;
