//! What `check --online` finds out about the store. It writes nothing.

use redis::Cmd;

use super::{
    connect::{Connection, Connector, Server},
    error::StoreError,
    settings::{Settings, key_of},
};
use crate::domain::StoreAddress;

/// What was found.
#[derive(Debug)]
pub struct Findings {
    /// What the server says of itself.
    pub server: Server,
    /// Where the primary is.
    pub place: StoreAddress,
    /// The commands that the user may not run.
    pub forbidden: Vec<&'static str>,
    /// What becomes of keys when memory is short, if the user may ask.
    pub policy: Option<String>,
    /// How the server keeps its data on a disk, if the user may ask.
    pub persistence: Option<Persistence>,
    /// By how many seconds this machine's clock is ahead of the store's.
    pub ahead: Option<i64>,
}

/// Whether the server writes what it has to a disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Persistence {
    /// Each change, to an append-only file.
    pub log: bool,
    /// All of it, now and then.
    pub snapshots: bool,
}

/// Connects, and looks around.
pub async fn look(settings: &Settings) -> Result<Findings, StoreError> {
    let mut connection = Connector::new(settings.store.clone()).connect().await?;
    let mut forbidden = Vec::new();
    for (name, command) in needed(settings) {
        match connection.ask::<redis::Value>(&command).await {
            Err(StoreError::Forbidden) => forbidden.push(name),
            Err(StoreError::Refused) => {}
            result => drop(result?),
        }
    }
    let (server, place) = (connection.server.clone(), connection.place.clone());
    let policy = policy(&mut connection).await?;
    let persistence = persistence(&mut connection).await?;
    let ahead = ahead(&mut connection).await?;
    Ok(Findings { server, place, forbidden, policy, persistence, ahead })
}

/// The rules for the store's user, as `ACL SETUSER` takes them.
pub fn acl(settings: &Settings) -> String {
    let all = key_of(&settings.name, "*");
    let select = if settings.store.database > 0 { " +select" } else { "" };
    format!(
        "ACL SETUSER pigello-gateway on >PASSWORD -@all '~{all}' '&{all}' +hello +subscribe +eval +time +get +mget +set +del \
         +xadd +xrange +xrevrange +publish +zadd +zcard +zrange +zrem +zremrangebyscore +hset +hget +hmget +hgetall \
         +hdel +expire +info{select}"
    )
}

/// Asks whether a command is allowed, with a field and a value.
fn may(name: &str, key: &str) -> Cmd {
    let mut command = redis::cmd("EVAL");
    command.arg(MAY).arg(1).arg(key).arg(name);
    command
}

/// Fails as the command would.
const MAY: &str = "\
if redis.acl_check_cmd(ARGV[1], KEYS[1], 'field', 'value') then return 1 end
return redis.error_reply('NOPERM ' .. ARGV[1])";

/// What the gateway asks of the store, in a form that changes nothing.
fn needed(settings: &Settings) -> Vec<(&'static str, Cmd)> {
    // Nobody listens there, and nothing is stored under it.
    let key = key_of(&settings.name, "check");
    let command = |name: &'static str, arguments: &[&str]| {
        let mut command = redis::cmd(name);
        command.arg(arguments);
        (name, command)
    };
    vec![
        command("SUBSCRIBE", &[&key]),
        command("XRANGE", &[&key, "-", "+", "COUNT", "1"]),
        command("XREVRANGE", &[&key, "+", "-", "COUNT", "1"]),
        // No stream takes this id.
        command("XADD", &[&key, "NOMKSTREAM", "0-0", "m", ""]),
        command("PUBLISH", &[&key, ""]),
        command("EVAL", &["return 1", "1", &key]),
        command("TIME", &[]),
        command("GET", &[&key]),
        command("MGET", &[&key]),
        // It is set only if it is there, and it never is.
        command("SET", &[&key, "", "XX"]),
        command("DEL", &[&key]),
        command("ZADD", &[&key, "XX", "0", ""]),
        command("ZCARD", &[&key]),
        command("ZRANGE", &[&key, "0", "0"]),
        command("ZREM", &[&key, ""]),
        command("ZREMRANGEBYSCORE", &[&key, "0", "0"]),
        // No form of it changes nothing, so the store is asked whether it would be allowed.
        ("HSET", may("HSET", &key)),
        command("HGET", &[&key, ""]),
        command("HMGET", &[&key, ""]),
        command("HGETALL", &[&key]),
        command("HDEL", &[&key, ""]),
        command("EXPIRE", &[&key, "0", "XX"]),
    ]
}

async fn policy(connection: &mut Connection) -> Result<Option<String>, StoreError> {
    let info = info(connection, "memory").await?;
    let policy = info.as_deref().and_then(|info| line(info, "maxmemory_policy"));
    Ok(policy.map(|policy| policy.chars().filter(char::is_ascii_graphic).take(32).collect()))
}

async fn persistence(connection: &mut Connection) -> Result<Option<Persistence>, StoreError> {
    let Some(info) = info(connection, "persistence").await? else { return Ok(None) };
    // A server that never saves has changes that are not saved.
    let saved = line(&info, "rdb_last_save_time").zip(line(&info, "rdb_saves"));
    Ok(Some(Persistence {
        log: line(&info, "aof_enabled") == Some("1"),
        snapshots: saved.is_some_and(|(_, saves)| saves != "0"),
    }))
}

/// A section of INFO, if the user may ask.
async fn info(connection: &mut Connection, section: &str) -> Result<Option<String>, StoreError> {
    match connection.ask(redis::cmd("INFO").arg(section)).await {
        Err(StoreError::Forbidden) => Ok(None),
        result => result.map(Some),
    }
}

fn line<'a>(info: &'a str, name: &str) -> Option<&'a str> {
    let mut lines = info.lines().filter_map(|line| line.split_once(':'));
    lines.find_map(|(known, value)| (known == name).then(|| value.trim()))
}

async fn ahead(connection: &mut Connection) -> Result<Option<i64>, StoreError> {
    match connection.ask::<(i64, i64)>(&redis::cmd("TIME")).await {
        Err(StoreError::Forbidden) => Ok(None),
        Err(error) => Err(error),
        Ok((seconds, _)) => Ok(Some(jiff::Timestamp::now().as_second().saturating_sub(seconds))),
    }
}
