"use strict";

const { existsSync } = require("node:fs");
const { join } = require("node:path");

const LIBRARIES = { linux: "libverso.so", darwin: "libverso.dylib", win32: "verso.dll" };

function getLoadablePath() {
  const library = LIBRARIES[process.platform];
  const path = library && join(__dirname, library);
  if (!path || !existsSync(path)) {
    throw new Error(
      `this package has no extension for ${process.platform}: install the one of your system`,
    );
  }
  return path;
}

function load(db) {
  if (typeof db?.loadExtension !== "function") {
    throw new TypeError(
      "load takes a database that can load extensions: one of better-sqlite3, or of node:sqlite",
    );
  }
  db.loadExtension(getLoadablePath());
}

module.exports = { getLoadablePath, load };
