// api.test.mjs: schema/openapi.yaml, the decoders in C and what they answer say the same.
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import https from "node:https";
import { tmpdir } from "node:os";
import { after, before, test } from "node:test";
import Ajv from "ajv/dist/2020.js";
import addFormats from "ajv-formats";
import { description, jsonFile, jsonText } from "./openapi.mjs";
import { call, double } from "./bench.mjs";

const doc = description();
const ajv = new Ajv({ strict: false, allErrors: true, unicodeRegExp: true });
addFormats(ajv);
ajv.addSchema(doc, "api");
const validator = (pointer) => ajv.compile({ $ref: `api#${pointer}` });
const schemaOf = (name) => validator(`/components/schemas/${name}`);

let bench;
before(async () => (bench = await double("--ports", "8", "--scene", "--no-hands")));
after(() => bench.stop());

const resolve = (node) => (node?.$ref ? node.$ref.slice(2).split("/").reduce((at, key) => at[key], doc) : node);
const operations = Object.entries(doc.paths).flatMap(([path, item]) =>
  ["get", "post", "patch", "put", "delete"].filter((m) => item[m])
    .map((method) => ({ path, method, operation: item[method], base: item.servers ? "" : "/api/v1" })));

test("openapi.json is openapi.yaml", () => {
  assert.equal(readFileSync(jsonFile, "utf8"), jsonText(), "run: node tests/web/openapi.mjs --write");
});

test("openapi.json is what the station serves", async () => {
  assert.deepEqual((await call(bench.url, "GET", "/api/v1/openapi.json")).body, doc);
});

test("every reference leads somewhere, every example fits its schema", () => {
  let references = 0, examples = 0;
  const walk = (node) => {
    if (node === null || typeof node !== "object") return;
    if (typeof node.$ref === "string") {
      references++;
      assert.ok(resolve(node) !== undefined, node.$ref);
    }
    Object.values(node).forEach(walk);
  };
  walk(doc);
  for (const { operation } of operations) {
    const content = resolve(operation.requestBody)?.content?.["application/json"];
    for (const [name, { value }] of Object.entries(content?.examples ?? {})) {
      examples++;
      const check = ajv.compile({ $ref: `api${content.schema.$ref}` });
      assert.ok(check(value), `${operation.operationId} ${name}: ${ajv.errorsText(check.errors)}`);
    }
  }
  for (const [name, schema] of Object.entries(doc.components.schemas))
    for (const value of schema.examples ?? []) {
      examples++;
      assert.ok(schemaOf(name)(value), `${name}: ${value}`);
    }
  assert.ok(references > 50 && examples > 10);
});

test("every operation is there, and no other method", async () => {
  for (const { path, method, base } of operations) {
    const address = base + path.replace(/\{[^}]*\}/g, "1");
    if (path === "/events") continue; // does not end
    const answer = await call(bench.url, method.toUpperCase(), address, method === "get" ? undefined : "{}");
    assert.notEqual(answer.body?.detail, "there is nothing at this address", `${method} ${path}`);
    assert.notEqual(answer.status, 405, `${method} ${path}`);
    const wrong = await call(bench.url, "DELETE", address, "{}");
    assert.equal(wrong.status, 405, `DELETE ${path}`);
    const allowed = wrong.headers.get("allow").split(", ").map((m) => m.toLowerCase()).sort();
    assert.deepEqual(allowed, operations.filter((o) => o.path === path).map((o) => o.method).sort(), path);
  }
});

test("what the station answers fits the schemas", async () => {
  const first = {
    port_id: (await call(bench.url, "GET", "/api/v1/ports")).body.items[0].id,
    job_id: "1", phone_id: "1", backup_id: "1", firmware_id: "1",
  };
  let checked = 0;
  for (const { path, method, base, operation } of operations) {
    const content = resolve(operation.responses["200"])?.content?.["application/json"];
    if (method !== "get" || !content) continue;
    const name = path.includes("recipes/{name}") ? "x5-restore" : "nvram";
    const address = base + path.replace(/\{([^}]*)\}/g, (_, key) => encodeURIComponent(first[key] ?? name));
    const answer = await call(bench.url, "GET", address);
    assert.equal(answer.status, 200, address);
    const pointer = `/paths/${path.replace(/~/g, "~0").replace(/\//g, "~1")}/get/responses/200`;
    const where = operation.responses["200"].$ref?.slice(1) ?? pointer;
    const check = validator(`${encodeURI(where)}/content/application~1json/schema`);
    assert.ok(check(answer.body), `${address}: ${ajv.errorsText(check.errors)}`);
    checked++;
  }
  assert.ok(checked >= 12);
});

// ---- schema and decoder agree ----

const LONG = "x".repeat(2000);
const wrongs = [0, 1, -1, 1.5, true, false, null, "", "x", "a\nb", "\u007f", LONG, [], ["x"], [1], {}, { x: 1 }, ["a", "b", "c", "d", "e"]];

function mutations(valid) {
  const bodies = [valid, {}, { ...valid, unknown_field: 1 }, { ...valid, Recipe: "x" }];
  for (const key of Object.keys(valid)) {
    const { [key]: _, ...without } = valid;
    bodies.push(without);
    for (const wrong of wrongs) bodies.push({ ...valid, [key]: wrong });
  }
  return bodies;
}

const order = {
  recipe: "x5-restore", port: "usbip-127.0.0.1:3240-1-5", serial: "PDAGAD0123456789", imeis: ["490154203237518"],
  phone_id: "1", firmware: "1", backup: "1", finish: "lk", accept: "scan", owner_ref: "o", client_ref: "c", priority: 5,
  dry_run: false,
};
const values = { serial: "PDAGAD0123456789", imeis: ["490154203237518"], wlan_mac: "a4:50:46:01:02:03", bt_mac: "A4:50:46:01:02:04" };
const cases = [
  ["JobOrder", "POST", "/api/v1/jobs", [...mutations(order),
    { ...order, finish: "LK" }, { ...order, accept: "usb" }, { ...order, priority: 101 }, { ...order, priority: -100 },
    { ...order, owner_ref: "x".repeat(128) }, { ...order, owner_ref: "x".repeat(129) }, { ...order, owner_ref: "für Jürgen" },
    { ...order, serial: "490154203237518" }, { ...order, serial: "PDAGAD012345678" }, { ...order, serial: "pdagad0123456789" },
    { ...order, imeis: ["49015420323751"] }]],
  ["PortChange", "PATCH", "/api/v1/ports/usbip-127.0.0.1%3A3240-1-8", [...mutations({ label: "A1", enabled: true }),
    { label: null }, { label: "x".repeat(32) }, { label: "x".repeat(33) }, { label: null, enabled: null },
    { takes_work: true }, { takes_work: 1 }, { takes_work: null }]],
  ["CalibrationLabel", "POST", "/api/v1/calibration/label", mutations({ label: "A1" })],
  ["JobResume", "POST", "/api/v1/jobs/999/resume", mutations({ port: "A1" })],
  ["Answer", "POST", "/api/v1/jobs/999/answer", [...mutations({ prompt_id: "p", answer: "ok", values }),
    ...mutations(values).map((v) => ({ prompt_id: "p", answer: "retry", values: v }))]],
  ["BackupImport", "POST", "/api/v1/backups", mutations({ path: "/srv/x", serial: "PDAGAD0123456789" })],
  ["FirmwareAdd", "POST", "/api/v1/firmware", mutations({ path: "/srv/x" })],
  ["DbBackup", "POST", "/api/v1/db/backup", [...mutations({ path: "/srv/x" }), { path: null }]],
  ["Nothing", "POST", "/api/v1/db/check", [{}, { x: 1 }]],
  ["Nothing", "POST", "/api/v1/jobs/999/cancel", [{}, { x: 1 }, { job_id: null }]],
];

for (const [name, method, path, bodies] of cases) {
  test(`schema and decoder agree: ${name}`, async () => {
    const check = schemaOf(name);
    let valid = 0, invalid = 0;
    for (const body of bodies) {
      const fits = check(body);
      const answer = await call(bench.url, method, path, body);
      const refused = answer.status === 422 && answer.body.code === "bad_input";
      // a recipe that does not exist is the right form and still refused
      if (fits && refused && /there is no recipe|there is no such port/.test(answer.body.detail)) continue;
      assert.equal(!refused, fits, `${JSON.stringify(body).slice(0, 300)}: schema ${fits}, station ${answer.status} ${answer.body.detail}`);
      if (refused) {
        assert.ok(schemaOf("Problem")(answer.body));
        invalid++;
      } else valid++;
    }
    assert.ok(valid > 0 && invalid > 0, `${valid} valid, ${invalid} invalid`);
  });
}

test("a check digit is more than a schema can say", async () => {
  const body = { ...order, imeis: ["490154203237519"] };
  assert.ok(schemaOf("JobOrder")(body));
  const answer = await call(bench.url, "POST", "/api/v1/jobs", body);
  assert.equal(answer.status, 422);
  assert.match(answer.body.detail, /field 'imeis'/);
});

// ---- behaviour that a schema does not tell ----

test("a dry run makes no job", async () => {
  const before = (await call(bench.url, "GET", "/api/v1/jobs")).body.items[0].id;
  const answer = await call(bench.url, "POST", "/api/v1/jobs", { ...order, dry_run: true });
  assert.equal(answer.status, 200);
  assert.ok(schemaOf("DryRun")(answer.body));
  assert.equal((await call(bench.url, "GET", "/api/v1/jobs")).body.items[0].id, before);
});

test("one Idempotency-Key is one job", async () => {
  const send = (body, key) => call(bench.url, "POST", "/api/v1/jobs", body, { "Idempotency-Key": key });
  const one = await send(order, "key-1"), same = await send(order, "key-1");
  assert.equal(one.status, 201);
  assert.equal(same.body.id, one.body.id);
  assert.equal(one.headers.get("location"), `/api/v1/jobs/${one.body.id}`);
  assert.equal((await send({ ...order, priority: 1 }, "key-1")).status, 409);
  assert.equal((await send(order, "with blank")).status, 422);
  assert.equal((await send(order, "k".repeat(129))).status, 422);
});

test("the failure catalogue, as a station tells it", async () => {
  const { items, next } = (await call(bench.url, "GET", "/api/v1/failures")).body;
  assert.equal(next, null);
  assert.ok(items.length > 60);
  const check = schemaOf("Failure");
  for (const failure of items) assert.ok(check(failure), ajv.errorsText(check.errors));
  const shown = doc.paths["/failures"].get.responses["200"].content["application/json"].example;
  for (const example of [...shown.items, ...doc.components.schemas.Failure.examples])
    assert.deepEqual(items.find((f) => f.id === example.id), example); // the description's examples are true
  assert.equal((await call(bench.url, "GET", "/api/v1/failures?limit=5")).status, 422);
});

test("lists come in pages", async () => {
  const all = (await call(bench.url, "GET", "/api/v1/jobs?limit=1000")).body.items.map((j) => j.id);
  const paged = [];
  let next = null;
  do {
    const page = (await call(bench.url, "GET", `/api/v1/jobs?limit=2${next ? `&after=${next}` : ""}`)).body;
    paged.push(...page.items.map((j) => j.id));
    next = page.next;
  } while (next);
  assert.deepEqual(paged, all);
  for (const bad of ["limit=0", "limit=1001", "limit=x", "state=odd", "open=1", "phone_id=x", "nothing=1"])
    assert.equal((await call(bench.url, "GET", `/api/v1/jobs?${bad}`)).status, 422, bad);
});

test("a partition's image arrives whole", async () => {
  const response = await fetch(`${bench.url}/api/v1/backups/1/partitions/nvram`);
  const bytes = Buffer.from(await response.arrayBuffer());
  const block = Buffer.from(Array.from({ length: 65536 }, (_, i) => (i * 7) & 255));
  const wanted = createHash("sha256");
  for (let i = 0; i < 80; i++) wanted.update(block);
  assert.equal(response.headers.get("content-type"), "application/octet-stream");
  assert.equal(response.headers.get("content-disposition"), 'attachment; filename="nvram.img"');
  assert.equal(createHash("sha256").update(bytes).digest("hex"), wanted.digest("hex"));
  assert.equal((await call(bench.url, "GET", "/api/v1/backups/1/partitions/boot")).status, 404);
});

test("events resume where a client left off", async () => {
  const read = async (headers, enough) => {
    const abort = new AbortController();
    const response = await fetch(`${bench.url}/api/v1/events`, { headers, signal: abort.signal });
    let text = "";
    for await (const chunk of response.body.pipeThrough(new TextDecoderStream())) {
      text += chunk;
      if (enough(text)) break;
    }
    abort.abort();
    return text;
  };
  const before_ = await read({ "Last-Event-ID": "0" }, (t) => /\nid: 9\n/.test(t));
  const ids = [...before_.matchAll(/^id: (\d+)$/gm)].map((m) => Number(m[1]));
  assert.deepEqual(ids.slice(0, 9), [1, 2, 3, 4, 5, 6, 7, 8, 9]);
  const later = await read({ "Last-Event-ID": "5" }, (t) => /\nid: 9\n/.test(t));
  assert.equal(Number(later.match(/^id: (\d+)$/m)[1]), 6);
});

test("metrics can be read by Prometheus", async () => {
  const { body, headers } = await call(bench.url, "GET", "/metrics");
  assert.match(headers.get("content-type"), /^text\/plain; version=0\.0\.4/);
  for (const line of body.trim().split("\n"))
    assert.match(line, /^(# (HELP|TYPE) [a-z_]+ .+|[a-z_]+(\{[a-z]+="[a-z]+"\})? [0-9.e+-]+)$/, line);
  assert.match(body, /^flashrack_ports\{state="fault"\} 1$/m);
  assert.match(body, /^process_resident_memory_bytes [1-9]/m);
});

test("TLS", async () => {
  const folder = mkdtempSync(`${tmpdir()}/flashrack-tls-`);
  try {
    execFileSync("openssl", ["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost",
      "-keyout", `${folder}/key.pem`, "-out", `${folder}/cert.pem`], { stdio: "ignore" });
    const secure = await double("--tls-cert", `${folder}/cert.pem`, "--tls-key", `${folder}/key.pem`);
    assert.match(secure.url, /^https:/);
    const agent = new https.Agent({ ca: readFileSync(`${folder}/cert.pem`), servername: "localhost" });
    const body = await new Promise((done, failed) => https.get(`${secure.url}/api/v1/ports`, { agent, checkServerIdentity: () => undefined }, (r) => {
      let text = "";
      r.on("data", (d) => (text += d)).on("end", () => done(text));
    }).on("error", failed));
    assert.equal(JSON.parse(body).items.length, 4);
    agent.destroy();
    await secure.stop();
    await assert.rejects(double("--tls-cert", `${folder}/cert.pem`), "a certificate without its key");
  } finally {
    rmSync(folder, { recursive: true });
  }
});

test("the lock file names no host", () => {
  const lock = readFileSync(new URL("package-lock.json", import.meta.url), "utf8");
  assert.doesNotMatch(lock, /https?:\/\/(?!(www\.)?(github\.com|opencollective\.com|registry\.npmjs\.org|eemeli\.org|patreon\.com|tidelift\.com)\b)/);
});

