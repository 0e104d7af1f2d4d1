// Checks what the package says to CommonJS, and to those who give it something else.
const assert = require("node:assert");
const { existsSync } = require("node:fs");
const { isAbsolute } = require("node:path");
const verso = require("@verso-db/verso");

const manifest = require("@verso-db/verso/package.json");
assert.strictEqual(manifest.version, process.argv[2]);
assert.deepStrictEqual([manifest.os, manifest.cpu], [[process.platform], [process.arch]]);

const path = verso.getLoadablePath();
assert(isAbsolute(path) && existsSync(path), path);
assert.throws(() => verso.load({}), /better-sqlite3, or of node:sqlite/);
assert.throws(() => verso.load(undefined), TypeError);

import("@verso-db/verso").then((module) => {
  assert.strictEqual(module.load, verso.load);
  assert.strictEqual(module.getLoadablePath, verso.getLoadablePath);
  console.log("checked");
});
