//! Clients and a node that protects its store: tokens and certificates, from the command line
//! to the result codes of SQL.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::thread;

use assert_cmd::cargo::cargo_bin;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, date_time_ymd};
use sha2::{Digest as _, Sha256};

use crate::common::Verso;
use crate::node::{Node, until};

/// Nothing of these may ever be seen.
const READS: &str = "token-that-reads-qi3u";
const WRITES: &str = "token-that-writes-7hpz";
const WRONG: &str = "token-of-nobody-x0dd";

fn entry(token: &str, access: &str, pattern: &str) -> String {
    let digest = Sha256::digest(token.as_bytes());
    let hex = digest
        .iter()
        .fold(String::new(), |hex, byte| format!("{hex}{byte:02x}"));
    format!(
        "[[token]]\nname = '{access} {pattern}'\nsha256 = '{hex}'\ndatabases = ['{pattern}']\n\
         access = '{access}'\n"
    )
}

fn write_tokens(verso: &Verso) {
    let tokens = entry(READS, "read", "app/*") + &entry(WRITES, "write", "app/*");
    fs::write(verso.path("tokens.toml"), tokens).unwrap();
}

/// A store with a table in two databases, of which tokens cover one.
fn store() -> Verso {
    let verso = Verso::new();
    for database in ["app/main.db", "other.db"] {
        verso.ok(&[
            "sql",
            database,
            "CREATE TABLE t (a); INSERT INTO t VALUES (1)",
        ]);
    }
    write_tokens(&verso);
    verso
}

/// What a run of the command says, on both of its outputs.
struct Said {
    code: i32,
    output: String,
    error: String,
}

/// Runs SQL as a client of a node, with these variables in its environment.
fn sql(verso: &Verso, url: &str, environment: &[(&str, &str)], arguments: &[&str]) -> Said {
    let mut command = verso.command();
    command.args(["--store", url, "sql", "--mode", "list"]);
    command.args(arguments);
    let run = command.envs(environment.iter().copied()).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    let said = Said {
        code: run.status.code().unwrap(),
        output: text(run.stdout),
        error: text(run.stderr),
    };
    for token in [READS, WRITES, WRONG] {
        let seen = said.output.contains(token) || said.error.contains(token);
        assert!(!seen, "{} {}", said.output, said.error);
    }
    said
}

#[test]
fn a_token_decides_what_a_client_may_do() {
    let verso = store();
    let node = Node::start(&verso, &["--tokens", "tokens.toml"]);
    let select = "SELECT count(*) FROM t";
    let ask = |token: &str, database: &str, sql_text: &str| {
        let environment = [("VERSO_TOKEN", token)];
        let set = if token.is_empty() {
            &[]
        } else {
            &environment[..]
        };
        sql(&verso, node.url(), set, &[database, sql_text])
    };
    for token in ["", WRONG] {
        let said = ask(token, "app/main.db", select);
        assert_ne!(said.code, 0);
        assert!(said.error.contains("VERSO_TOKEN"), "{}", said.error);
        assert!(said.error.contains(node.url()), "{}", said.error);
    }
    assert_eq!(ask(READS, "app/main.db", select).output, "1\n");
    for write in ["INSERT INTO t VALUES (2)", "BEGIN IMMEDIATE"] {
        let said = ask(READS, "app/main.db", write);
        assert_ne!(said.code, 0);
        for part in ["access write", "read app/*", "use a token"] {
            assert!(said.error.contains(part), "{part} in {}", said.error);
        }
    }
    let said = ask(WRITES, "app/main.db", "INSERT INTO t VALUES (2)");
    assert_eq!(said.code, 0, "{}", said.error);
    assert_eq!(ask(READS, "app/main.db", select).output, "2\n");
    // What a token does not cover is not there.
    let hidden = sql(
        &verso,
        node.url(),
        &[("VERSO_TOKEN", READS)],
        &["--readonly", "other.db", select],
    );
    let missing = sql(
        &verso,
        node.url(),
        &[("VERSO_TOKEN", READS)],
        &["--readonly", "third.db", select],
    );
    assert_ne!(hidden.code, 0);
    assert_eq!(
        hidden.error.replace("other", "third"),
        missing.error,
        "both do not exist"
    );
    // A token may be in a file, and what is set wins.
    fs::write(verso.path("token"), format!("{READS}\n")).unwrap();
    let file = ("VERSO_TOKEN_FILE", "token");
    let said = sql(&verso, node.url(), &[file], &["app/main.db", select]);
    assert_eq!(said.output, "2\n", "{}", said.error);
    let both = [file, ("VERSO_TOKEN", WRONG)];
    assert_ne!(
        sql(&verso, node.url(), &both, &["app/main.db", select]).code,
        0
    );
    let info = ask(READS, "app/main.db", "SELECT verso_info(), verso_stats()");
    assert!(info.output.contains("app/main.db"), "{}", info.output);
    let (code, log) = node.0.end();
    assert_eq!(code, Some(0));
    for token in [READS, WRITES, WRONG] {
        assert!(!log.contains(token), "{log}");
    }
}

/// A `verso shell`, which is told one line after the other.
struct Shell {
    process: Child,
    /// Closed to end it.
    input: Option<ChildStdin>,
    log: PathBuf,
}

impl Shell {
    fn start(verso: &Verso, url: &str, token: &str) -> Self {
        let log = verso.path("shell.log");
        let mut process = Command::new(cargo_bin("verso"))
            .current_dir(verso.folder())
            .args(["--store", url, "shell", "app/main.db"])
            .env("HOME", verso.folder())
            .env("VERSO_TOKEN", token)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(File::create(&log).unwrap())
            .spawn()
            .unwrap();
        Self {
            input: process.stdin.take(),
            process,
            log,
        }
    }

    /// Runs SQL to its end. The error, if there is one.
    fn run(&mut self, sql: &str) -> Result<(), String> {
        let log = self.log.clone();
        let errors = || fs::read_to_string(&log).unwrap();
        let before = errors().len();
        // Of this it always complains.
        let input = self.input.as_mut().unwrap();
        writeln!(input, "{sql};\n.ended").unwrap();
        until("the statement ends", || {
            errors()[before..].contains("ended")
        });
        match errors()[before..].trim_end().rsplit_once('\n') {
            None => Ok(()),
            Some((error, _)) => Err(error.to_owned()),
        }
    }

    /// What it has printed, once its input ends.
    fn end(mut self) -> String {
        let output = self.process.stdout.take().unwrap();
        self.input = None;
        std::io::read_to_string(output).unwrap()
    }
}

impl Drop for Shell {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Waits until the node says so in its log.
fn logged(node: &Node, words: &str) {
    until(words, || node.0.log().contains(words));
}

#[test]
fn a_token_that_is_taken_away_ends_open_connections_and_may_come_back() {
    let verso = store();
    let node = Node::start(&verso, &["--tokens", "tokens.toml"]);
    let mut shell = Shell::start(&verso, node.url(), WRITES);
    let count = "SELECT count(*) FROM t";
    assert_eq!(shell.run(count), Ok(()));

    fs::write(verso.path("tokens.toml"), entry(READS, "read", "app/*")).unwrap();
    node.0.signal("HUP");
    logged(&node, "tokens were read again");
    let refused = shell.run(count).unwrap_err();
    assert!(refused.contains("VERSO_TOKEN"), "{refused}");
    let refused = shell
        .run("INSERT INTO t VALUES (2) RETURNING a")
        .unwrap_err();
    assert!(refused.contains("VERSO_TOKEN"), "{refused}");

    // A file that makes no sense changes nothing.
    fs::write(verso.path("tokens.toml"), "[[token]]\nnonsense").unwrap();
    node.0.signal("HUP");
    logged(&node, "tokens stay as they were");
    assert!(shell.run(count).is_err());

    write_tokens(&verso);
    node.0.signal("HUP");
    logged(&node, "count=2");
    assert_eq!(shell.run("INSERT INTO t VALUES (2)"), Ok(()));
    assert_eq!(shell.run(count), Ok(()));
    assert_eq!(shell.end(), "1\n2\n");
}

struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        Self(CertifiedIssuer::self_signed(params, key).unwrap())
    }

    /// Writes a certificate and its key to `NAME.crt` and `NAME.key`.
    fn issue(&self, verso: &Verso, name: &str, host: &str, year: i32) {
        let mut params = CertificateParams::new(vec![host.to_owned()]).unwrap();
        params.not_before = date_time_ymd(2020, 1, 1);
        params.not_after = date_time_ymd(year, 1, 1);
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.0).unwrap();
        fs::write(verso.path(&format!("{name}.crt")), certificate.pem()).unwrap();
        fs::write(verso.path(&format!("{name}.key")), key.serialize_pem()).unwrap();
    }
}

/// A node with the certificate of this name, and the client's environment to trust it.
fn secured(verso: &Verso, name: &str, more: &[&str]) -> Node {
    let (certificate, key) = (format!("{name}.crt"), format!("{name}.key"));
    let arguments = [&["--tls-cert", &certificate, "--tls-key", &key], more].concat();
    Node::start(verso, &arguments)
}

#[test]
fn a_client_and_a_node_must_prove_who_they_are() {
    let (verso, authority) = (store(), Authority::new());
    fs::write(verso.path("ca.pem"), authority.0.pem()).unwrap();
    authority.issue(&verso, "node", "127.0.0.1", 2999);
    authority.issue(&verso, "elsewhere", "10.0.0.1", 2999);
    authority.issue(&verso, "expired", "127.0.0.1", 2021);
    authority.issue(&verso, "client", "some client", 2999);
    Authority::new().issue(&verso, "stranger", "some client", 2999);
    let trust = ("VERSO_TLS_CA", "ca.pem");
    let as_client = |name: &'static str| {
        let (certificate, key) = match name {
            "client" => ("client.crt", "client.key"),
            _ => ("stranger.crt", "stranger.key"),
        };
        vec![
            trust,
            ("VERSO_TLS_CERT", certificate),
            ("VERSO_TLS_KEY", key),
        ]
    };
    let mutual = ["--tls-client-ca", "ca.pem"];
    // The node's certificate and arguments, what the client sets, and what it says if it is not
    // served.
    let cases = [
        ("node", &[][..], vec![trust], None),
        ("node", &mutual, as_client("client"), None),
        ("node", &[], vec![], Some("UnknownIssuer")),
        ("elsewhere", &[], vec![trust], Some("not valid for name")),
        ("expired", &[], vec![trust], Some("expired")),
        ("node", &mutual, vec![trust], Some("cannot be reached")),
        (
            "node",
            &mutual,
            as_client("stranger"),
            Some("cannot be reached"),
        ),
    ];
    // Each that fails takes the ten seconds that a client asks on.
    thread::scope(|scope| {
        for (certificate, arguments, environment, failure) in cases {
            let verso = &verso;
            scope.spawn(move || {
                let node = secured(verso, certificate, arguments);
                assert!(node.url().starts_with("https://127.0.0.1:"));
                let query = ["app/main.db", "SELECT count(*) FROM t"];
                let said = sql(verso, node.url(), &environment, &query);
                match failure {
                    None => assert_eq!(said.output, "1\n", "{certificate}: {}", said.error),
                    Some(part) => {
                        assert_ne!(said.code, 0, "{certificate} {arguments:?}");
                        assert!(said.error.contains(part), "{part} in {}", said.error);
                    }
                }
            });
        }
    });
}

#[test]
fn to_serve_other_machines_a_node_needs_protection() {
    let (verso, authority) = (store(), Authority::new());
    authority.issue(&verso, "node", "127.0.0.1", 2999);
    let tls = ["--tls-cert", "node.crt", "--tls-key", "node.key"];
    let tokens = ["--tokens", "tokens.toml"];
    let everywhere = ["serve", "--listen", "0.0.0.0:0"];
    for (arguments, missing) in [
        (
            vec![],
            "TLS (--tls-cert and --tls-key) and tokens (--tokens)",
        ),
        (tls.to_vec(), "needs tokens (--tokens)"),
        (tokens.to_vec(), "needs TLS"),
    ] {
        let error = verso.fails(2, &[&everywhere[..], &arguments].concat());
        assert!(
            error.contains(missing) && error.contains("--insecure"),
            "{error}"
        );
    }
    for arguments in [[&tls[..], &tokens].concat(), vec!["--insecure"]] {
        let node = Node::start(
            &verso,
            &[&arguments[..], &["--listen", "0.0.0.0:0"]].concat(),
        );
        assert!(node.address().starts_with("0.0.0.0:"));
    }
    for (arguments, part) in [
        (&["--tls-cert", "node.crt"][..], "--tls-key"),
        (
            &["--tls-cert", "node.key", "--tls-key", "node.key"],
            "node.key",
        ),
        (
            &["--tls-cert", "none.crt", "--tls-key", "node.key"],
            "none.crt",
        ),
        (&["--tokens", "none.toml"], "none.toml"),
        (&["--tokens", "node.crt"], "node.crt"),
    ] {
        let output = verso
            .command()
            .arg("serve")
            .args(arguments)
            .output()
            .unwrap();
        let error = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success(), "{arguments:?}");
        assert!(error.contains(part), "{part} in {error}");
    }
}
