// openapi.mjs: schema/openapi.json is openapi.yaml in JSON, so that the station can serve it without a YAML
// parser. `node tests/web/openapi.mjs --write` makes it; the tests compare.
import { readFileSync, writeFileSync } from "node:fs";
import { parse } from "yaml";

const folder = new URL("../../schema/", import.meta.url);
export const yamlFile = new URL("openapi.yaml", folder);
export const jsonFile = new URL("openapi.json", folder);
export const description = () => parse(readFileSync(yamlFile, "utf8"));
export const jsonText = () => `${JSON.stringify(description(), null, 1)}\n`;

if (process.argv.includes("--write")) writeFileSync(jsonFile, jsonText());
