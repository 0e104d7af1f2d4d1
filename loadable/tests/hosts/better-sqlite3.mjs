// Verso in Node's better-sqlite3. loadable/tests/node.rs runs `node better-sqlite3.mjs SCENARIO`
// in an empty folder; docs/hosts/node.md shows the lines.
import assert from "node:assert/strict";
import { once } from "node:events";
import { existsSync } from "node:fs";
import { Worker } from "node:worker_threads";
import Database from "better-sqlite3";

process.env.VERSO_DEFAULT_VFS = "1"; // before the extension is loaded
process.env.VERSO_STORE = "sqlite:store.db"; // before a database is opened
new Database(":memory:").loadExtension(process.env.VERSO_LIBRARY).close();

const open = (name) => new Database(name, { timeout: 60_000 });
const value = (db, sql) => db.prepare(sql).pluck().get();

function transact(db, work) {
  const run = db.transaction(work);
  for (let attempt = 0; ; attempt++) {
    try {
      return attempt < 3 ? run.deferred() : run.immediate();
    } catch (error) {
      if (error.code !== "SQLITE_BUSY_SNAPSHOT") throw error;
    }
  }
}

const scenarios = {
  create() {
    const db = open("app.db");
    db.exec("CREATE TABLE t (id INTEGER PRIMARY KEY, n); INSERT INTO t VALUES (1, 0)");
    assert.deepEqual(db.prepare("SELECT * FROM t").all(), [{ id: 1, n: 0 }]);
    assert.match(value(db, "SELECT verso_version()"), /^[0-9a-f]{20}$/i);
    assert.equal(JSON.parse(value(db, "SELECT verso_info()")).name, "app.db");
  },

  transaction() {
    scenarios.create();
    const db = open("app.db");
    const insert = db.prepare("INSERT INTO t (n) VALUES (?)");
    assert.throws(() =>
      transact(db, () => {
        insert.run(7);
        throw new Error("not this one");
      }),
    );
    transact(db, () => [1, 2, 3].forEach((n) => insert.run(n)));
    assert.deepEqual(db.prepare("SELECT n FROM t").pluck().all(), [0, 1, 2, 3]);
  },

  // The other connection commits while the statement runs.
  conflictOfAStatement() {
    scenarios.create();
    const [db, other] = [open("app.db"), open("app.db")];
    let runs = 0;
    db.function("meanwhile", { deterministic: false }, (n) => {
      if (runs++ === 0) other.exec("UPDATE t SET n = 10");
      return n;
    });
    db.exec("UPDATE t SET n = meanwhile(n) + 1");
    assert.equal(runs, 2);
    assert.equal(value(other, "SELECT n FROM t"), 11);
  },

  conflictOfATransaction() {
    scenarios.create();
    const [db, other] = [open("app.db"), open("app.db")];
    db.exec("BEGIN; UPDATE t SET n = n + 1");
    other.exec("UPDATE t SET n = 10");
    assert.throws(() => db.exec("COMMIT"), { code: "SQLITE_BUSY_SNAPSHOT" });
    assert.equal(db.inTransaction, false);

    let attempts = 0;
    transact(db, () => {
      const n = value(db, "SELECT n FROM t");
      if (attempts++ === 0) other.exec("UPDATE t SET n = 20");
      db.prepare("UPDATE t SET n = ?").run(n + 1);
    });
    assert.equal(attempts, 2);
    assert.equal(value(other, "SELECT n FROM t"), 21);
  },

  // A connection in the past reads only; its bytes are a plain file.
  timeTravel() {
    scenarios.create();
    const db = open("app.db");
    const version = value(db, "SELECT verso_version()");
    db.exec("UPDATE t SET n = 1");
    const past = open("app.db");
    past.pragma(`verso_at = '${version}'`);
    assert.equal(value(past, "SELECT n FROM t"), 0);
    assert.throws(() => past.exec("UPDATE t SET n = 2"), { code: "SQLITE_READONLY" });
    assert.equal(value(new Database(past.serialize()), "SELECT n FROM t"), 0);
    assert.equal(value(db, "SELECT n FROM t"), 1);
    past.pragma("verso_at = newest");
    past.exec("UPDATE t SET n = n + 1");
    assert.equal(value(db, "SELECT n FROM t"), 2);
  },

  // SQLite does not read the URI here, and Verso does not take it for a name.
  uri() {
    scenarios.create();
    const refused = { code: "SQLITE_CANTOPEN" };
    assert.throws(() => open("file:app.db?vfs=verso&mode=ro"), refused);
    const db = open("app.db");
    assert.match(value(db, "SELECT verso_last_error()"), /mode=ro'.*begins with file:/);
    assert.throws(() => db.exec("ATTACH 'file:app.db?mode=ro' AS other"), /unable to open/);
    assert.equal(value(db, "SELECT count(*) FROM verso_databases"), 1);
  },

  // Several processes do this at once.
  increment() {
    const db = open("app.db");
    db.pragma("synchronous = OFF");
    const update = db.prepare("UPDATE t SET n = n + 1");
    const read = db.prepare("SELECT n FROM t").pluck();
    const write = db.prepare("UPDATE t SET n = ?");
    for (let i = 0; i < 100; i++) {
      update.run();
      transact(db, () => write.run(read.get() + 1));
    }
  },

  async threads() {
    scenarios.create();
    const program = new URL(import.meta.url);
    const workers = [1, 2].map(() => new Worker(program, { argv: ["increment"] }));
    await Promise.all(workers.map((worker) => once(worker, "exit")));
    assert.equal(value(open("app.db"), "SELECT n FROM t"), 400);
  },

  // A backup is another database of the store. The bytes of serialize() are a plain file.
  async copies() {
    scenarios.create();
    const db = open("app.db");
    await db.backup("copy.db");
    assert.equal(existsSync("copy.db"), false);
    assert.equal(value(open("copy.db"), "SELECT n FROM t"), 0);
    assert.equal(value(new Database(db.serialize()), "SELECT n FROM t"), 0);
  },

  sum() {
    console.log(value(open("app.db"), "SELECT n FROM t"));
  },
};

await scenarios[process.argv[2]]();
