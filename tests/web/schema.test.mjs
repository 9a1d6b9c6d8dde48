// The JSON Schemas of recipes and messages are schemas, the shipped recipes pass, broken ones do not. The C tests
// recipe_schema and wire_schema judge the same files with the decoders.
import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import test from "node:test";
import Ajv from "ajv/dist/2020.js";

const root = new URL("../../", import.meta.url);
const read = (path) => JSON.parse(readFileSync(new URL(path, root), "utf8"));
const files = (folder) => readdirSync(new URL(folder, root)).filter((name) => name.endsWith(".json"));
const ajv = new Ajv({ allErrors: true });
ajv.addVocabulary(["x-sender", "x-descriptors"]);

test("recipes", () => {
    const valid = ajv.compile(read("schema/recipe.schema.json"));
    for (const name of files("schema/recipes"))
        assert.ok(valid(read(`schema/recipes/${name}`)), `${name}: ${JSON.stringify(valid.errors)}`);
    const broken = files("tests/unit/samples/recipes");
    assert.ok(broken.length >= 10);
    for (const name of broken)
        assert.equal(valid(read(`tests/unit/samples/recipes/${name}`)), false, name);
});

test("failures", () => {
    const valid = ajv.compile(read("schema/failures.schema.json"));
    const { failures } = read("schema/failures.json");
    assert.ok(valid({ failures }), JSON.stringify(valid.errors));
    const bend = (change) => ({ failures: [{ ...failures[0], ...change }, ...failures.slice(1)] });
    for (const change of [{ id: "Z1" }, { code: "No Code" }, { class: "later" }, { advice: "" }, { more: 1 }])
        assert.equal(valid(bend(change)), false, JSON.stringify(change));
});

test("messages", () => {
    const names = files("schema/wire");
    assert.ok(names.length >= 20);
    for (const name of names) {
        const schema = read(`schema/wire/${name}`);
        const valid = ajv.compile(schema);
        const message = Object.fromEntries(Object.entries(schema.properties).map(([field, property]) =>
            [field, property.const ?? (property.type === "integer" ? 0 : property.type === "string" ? "" : null)]));
        assert.ok(valid(message), `${name}: ${JSON.stringify(valid.errors)}`);
        assert.equal(valid({ ...message, more: 1 }), false, name);
    }
});
