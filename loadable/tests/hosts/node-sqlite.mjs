// Verso in Node's own module node:sqlite. loadable/tests/node.rs runs `node node-sqlite.mjs
// SCENARIO` in an empty folder; docs/hosts/node.md shows the lines.
import assert from "node:assert/strict";
import { once } from "node:events";
import { existsSync } from "node:fs";
import { backup, DatabaseSync } from "node:sqlite";
import { Worker } from "node:worker_threads";

const loader = new DatabaseSync(":memory:", { allowExtension: true });
loader.loadExtension(process.env.VERSO_LIBRARY);
loader.close();

const uri = "file:app.db?vfs=verso&store=sqlite:store.db";
const open = (uri) => new DatabaseSync(uri, { timeout: 60_000 });
const SQLITE_BUSY_SNAPSHOT = 517;

function transact(db, work) {
  for (let attempt = 0; ; attempt++) {
    db.exec(attempt < 3 ? "BEGIN" : "BEGIN IMMEDIATE");
    try {
      const result = work();
      db.exec("COMMIT");
      return result;
    } catch (error) {
      if (db.isTransaction) db.exec("ROLLBACK");
      if (error.errcode !== SQLITE_BUSY_SNAPSHOT) throw error;
    }
  }
}

const value = (db, sql) => Object.values(db.prepare(sql).get())[0];

const scenarios = {
  create() {
    const db = open(uri);
    db.exec("CREATE TABLE t (id INTEGER PRIMARY KEY, n); INSERT INTO t VALUES (1, 0)");
    assert.equal(value(db, "SELECT n FROM t"), 0);
    assert.equal(JSON.parse(value(db, "SELECT verso_info()")).name, "app.db");
  },

  transaction() {
    scenarios.create();
    const db = open(uri);
    const insert = db.prepare("INSERT INTO t (n) VALUES (?)");
    const fail = () => {
      insert.run(7);
      throw new Error("not this one");
    };
    assert.throws(() => transact(db, fail), /not this one/);
    transact(db, () => [1, 2, 3].forEach((n) => insert.run(n)));
    assert.equal(value(db, "SELECT 100 * count(*) + sum(n) FROM t"), 406);
  },

  // The other connection commits while the statement runs.
  conflictOfAStatement() {
    scenarios.create();
    const [db, other] = [open(uri), open(uri)];
    let runs = 0;
    db.function("meanwhile", (n) => {
      if (runs++ === 0) other.exec("UPDATE t SET n = 10");
      return n;
    });
    db.exec("UPDATE t SET n = meanwhile(n) + 1");
    assert.equal(runs, 2);
    assert.equal(value(other, "SELECT n FROM t"), 11);
  },

  conflictOfATransaction() {
    scenarios.create();
    const [db, other] = [open(uri), open(uri)];
    db.exec("BEGIN; UPDATE t SET n = n + 1");
    other.exec("UPDATE t SET n = 10");
    assert.throws(() => db.exec("COMMIT"), { errcode: SQLITE_BUSY_SNAPSHOT });
    assert.equal(db.isTransaction, false);

    let attempts = 0;
    transact(db, () => {
      const n = value(db, "SELECT n FROM t");
      if (attempts++ === 0) other.exec("UPDATE t SET n = 20");
      db.prepare("UPDATE t SET n = ?").run(n + 1);
    });
    assert.equal(attempts, 2);
    assert.equal(value(other, "SELECT n FROM t"), 21);
  },

  timeTravel() {
    scenarios.create();
    const db = open(uri);
    const version = value(db, "SELECT verso_version()");
    db.exec("UPDATE t SET n = 1");
    const past = open(`${uri}&at=${version}`);
    assert.equal(value(past, "SELECT n FROM t"), 0);
    assert.throws(() => past.exec("UPDATE t SET n = 2"), /readonly/);
    assert.equal(value(db, "SELECT n FROM t"), 1);
  },

  // Several processes do this at once.
  increment() {
    const db = open(uri);
    db.exec("PRAGMA synchronous = OFF");
    const update = db.prepare("UPDATE t SET n = n + 1");
    const write = db.prepare("UPDATE t SET n = ?");
    for (let i = 0; i < 100; i++) {
      update.run();
      transact(db, () => write.run(value(db, "SELECT n FROM t") + 1));
    }
  },

  async threads() {
    scenarios.create();
    const program = new URL(import.meta.url);
    const workers = [1, 2].map(() => new Worker(program, { argv: ["increment"] }));
    await Promise.all(workers.map((worker) => once(worker, "exit")));
    assert.equal(value(open(uri), "SELECT n FROM t"), 400);
  },

  // A backup goes to a plain file, or to another database of the store by its URI.
  async copies() {
    scenarios.create();
    const db = open(uri);
    await backup(db, "copy.sqlite");
    assert.equal(existsSync("copy.sqlite"), true);
    assert.equal(value(new DatabaseSync("copy.sqlite"), "SELECT n FROM t"), 0);
    const copy = uri.replace("app.db", "copy.db");
    await backup(db, copy);
    assert.equal(existsSync("copy.db"), false);
    assert.equal(value(open(copy), "SELECT n FROM t"), 0);
  },

  sum() {
    console.log(value(open(uri), "SELECT n FROM t"));
  },
};

await scenarios[process.argv[2]]();
