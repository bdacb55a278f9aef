//! The store behind the collector: it keeps what arrives in files, and loads these into `ClickHouse`'s engine
//! (`chdb`), with the tables and queries of the manual as they stand there.

use std::{
    fmt,
    fs::{self, File},
    io::{Read as _, Write as _},
    net::{Ipv4Addr, SocketAddr},
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::Arc,
};

use axum::{
    Router,
    body::Bytes,
    extract::{DefaultBodyLimit, State},
    routing::post,
};
use flate2::read::GzDecoder;
use parking_lot::Mutex;
use pigello_gateway::outbound::otlp::{
    AnyKind, ExportRequest, ExportResponse, KeyValue, LogRecord,
};
use prost::Message as _;
use tempfile::TempDir;
use tokio::net::TcpListener;

use super::tool;

/// The store, which ends with this value.
#[derive(Debug)]
pub struct Store {
    python: PathBuf,
    folder: TempDir,
    address: SocketAddr,
    arrived: Arc<Mutex<Arrived>>,
}

/// Rows that arrived: chain, seq, time and body, with tabs between.
struct Arrived {
    path: PathBuf,
    file: zstd::Encoder<'static, File>,
    rows: u64,
}

/// What the store lacks of a chain.
#[derive(Debug, Default)]
pub struct Missing {
    /// The first such line.
    pub first: Option<u64>,
    pub holes: u64,
    pub lines: u64,
}

impl Store {
    /// Opens it with the tables of the manual, and takes what the collector sends.
    pub async fn open() -> Self {
        let python = tool("CHDB_PYTHON", "a Python that has chdb (PyPI: chdb==4.4.0)");
        let folder = tempfile::tempdir().unwrap();
        let arrived = Arc::new(Mutex::new(Arrived::begin(&folder, 0)));
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let router = Router::new()
            .route("/v1/logs", post(take))
            .layer(DefaultBodyLimit::disable())
            .with_state(Arc::clone(&arrived));
        tokio::spawn(async { axum::serve(listener, router).await });
        let store = Self { python, folder, address, arrived };
        let tables = manual("```sql\n", "CREATE", "```");
        let (table, view) = tables.split_once(";\n").unwrap();
        store.ask(&[COLLECTORS_TABLE, table, view, "SELECT 1"]);
        store
    }

    /// Where it takes what the collector sends.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// How many rows arrived.
    pub fn arrived(&self) -> u64 {
        self.arrived.lock().rows
    }

    /// Loads what arrived since the last time.
    pub fn load(&self) {
        let mut arrived = self.arrived.lock();
        let next = Arrived::begin(&self.folder, arrived.rows);
        let Arrived { path, file, .. } = std::mem::replace(&mut *arrived, next);
        file.finish().unwrap();
        let load = format!(
            "INSERT INTO otel_logs SELECT fromUnixTimestamp64Nano(time), body, 'pigello-gateway.audit', \
             map('pigello.audit.chain', chain), map('pigello.audit.seq', seq) \
             FROM file('{}', TSVRaw, 'chain String, seq String, time Int64, body String')",
            path.display()
        );
        // Merges would drop some of what was delivered twice, and FINAL is to do that.
        self.ask(&["SYSTEM STOP MERGES audit", &load, "SELECT 1"]);
        fs::remove_file(path).unwrap();
    }

    /// What is missing of chains whose last line is known.
    pub fn missing(&self, chains: &[(String, u64)]) -> Vec<Missing> {
        let holes = self.ask(&[manual("```sql\n", "SELECT", "```")]);
        let ends = self.ask(&["SELECT chain, max(seq) FROM audit GROUP BY chain"]);
        let missing = chains.iter().map(|(chain, last)| {
            let of_chain = |line: &str| {
                let numbers = line.strip_prefix(chain)?.trim_start();
                Some(
                    numbers.split('\t').map(|number| number.parse().unwrap()).collect::<Vec<u64>>(),
                )
            };
            let had = ends.lines().find_map(of_chain).map_or(0, |end| end[0]);
            let end = Some(vec![had + 1, *last]).filter(|_| had < *last);
            let ranges = holes.lines().filter_map(of_chain).chain(end);
            ranges.fold(Missing::default(), |missing, range| Missing {
                first: missing.first.or(Some(range[0])),
                holes: missing.holes + 1,
                lines: missing.lines + range[1] - range[0] + 1,
            })
        });
        missing.collect()
    }

    /// Runs statements, and returns what the last one answers: lines, with tabs between their columns.
    pub fn ask(&self, statements: &[&str]) -> String {
        let output = self.run(statements).wait_with_output().unwrap();
        assert!(output.status.success(), "{statements:?} fails");
        String::from_utf8(output.stdout).unwrap().trim_end().to_owned()
    }

    /// Gives back all lines, as the manual does for `audit verify --stdin`.
    pub fn lines(&self) -> Child {
        self.run(&[manual("clickhouse-client -q \"", "SELECT", "\"")])
    }

    fn run(&self, statements: &[&str]) -> Child {
        let mut command = Command::new(&self.python);
        command.args(["-c", PROGRAM]).arg(self.folder.path().join("clickhouse")).args(statements);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap()
    }
}

/// A statement of the manual: what follows `before`, begins with that word, and ends before `end`.
fn manual(before: &str, word: &str, end: &str) -> &'static str {
    let statement = MANUAL.split(before).find(|text| text.starts_with(word)).unwrap();
    statement.split(end).next().unwrap().trim_end()
}

impl Arrived {
    fn begin(folder: &TempDir, rows: u64) -> Self {
        let path = folder.path().join(format!("from-{rows}.tsv.zst"));
        let file = zstd::Encoder::new(File::create(&path).unwrap(), 1).unwrap();
        Self { path, file, rows }
    }
}

impl fmt::Debug for Arrived {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Arrived").field("rows", &self.rows).finish_non_exhaustive()
    }
}

async fn take(State(arrived): State<Arc<Mutex<Arrived>>>, body: Bytes) -> Vec<u8> {
    let mut message = Vec::new();
    GzDecoder::new(&*body).read_to_end(&mut message).unwrap();
    let request = ExportRequest::<LogRecord>::decode(&*message).unwrap();
    let mut arrived = arrived.lock();
    for resource in &request.resources {
        let source = resource.resource.as_ref().map_or(&[][..], |source| &source.attributes);
        let chain = attribute(source, "pigello.audit.chain");
        for record in resource.scopes.iter().flat_map(|scope| &scope.items) {
            let seq = attribute(&record.attributes, "pigello.audit.seq");
            let body = text(record.body.as_ref().and_then(|body| body.kind.as_ref()));
            writeln!(arrived.file, "{chain}\t{seq}\t{}\t{body}", record.time_unix_nano).unwrap();
            arrived.rows += 1;
        }
    }
    ExportResponse::default().encode_to_vec()
}

fn attribute(attributes: &[KeyValue], key: &str) -> String {
    let attribute = attributes.iter().find(|attribute| attribute.key == key);
    text(attribute.and_then(|attribute| attribute.value.as_ref()?.kind.as_ref()))
}

fn text(value: Option<&AnyKind>) -> String {
    match value {
        Some(AnyKind::Text(text)) => text.clone(),
        Some(AnyKind::Integer(number)) => number.to_string(),
        None => String::new(),
        other => panic!("the collector passes on {other:?}"),
    }
}

const MANUAL: &str = include_str!("../../../docs/src/how-to/prove-the-trail.md");

/// The OpenTelemetry Collector's table, with the columns that the manual's view takes. It keeps nothing itself.
const COLLECTORS_TABLE: &str = "CREATE TABLE otel_logs (Timestamp DateTime64(9), Body String, ScopeName String, \
     ResourceAttributes Map(LowCardinality(String), String), LogAttributes Map(LowCardinality(String), String)) \
     ENGINE = Null";

/// Runs the statements behind the folder's name, and prints what the last one answers as it comes.
const PROGRAM: &str = "
import sys
from chdb.session import Session
session = Session(sys.argv[1])
for statement in sys.argv[2:-1]:
    session.query(statement)
for piece in session.send_query(sys.argv[-1], 'TSVRaw'):
    sys.stdout.buffer.write(piece.bytes())
";
