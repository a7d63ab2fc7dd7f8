//! What Redis does at once: the scripts, and how they are called.
//!
//! Every key begins with the prefix and has a time to live. Time is Redis' own. A script that is
//! called twice does no more than once.

use std::{collections::HashSet, time::Duration};

use redis::{ErrorKind, RedisError, aio::MultiplexedConnection};

use crate::{
    numbers::Numbers,
    protocol::message::{Epoch, NodeId},
};

/// What a node tells by the renewal of its lease.
pub(crate) struct Beat {
    pub(crate) id: NodeId,
    /// Whether this is the first one under this id. Later a node that is not listed has lost its
    /// lease, and must not come back.
    pub(crate) joins: bool,
    pub(crate) resigned: Option<Epoch>,
    pub(crate) numbers: Numbers,
    pub(crate) lease: Duration,
}

/// What Redis says of a match.
pub(crate) enum Allowed {
    Yes,
    /// Another node leads.
    NotLeading,
    Gone(NodeId),
    /// It did not answer.
    Unknown,
}

/// What Redis says of the cluster.
pub(crate) struct View {
    pub(crate) leader: (Epoch, NodeId),
    pub(crate) nodes: HashSet<NodeId>,
    pub(crate) others: Numbers,
}

/// Renews a lease and elects a leader if there is none.
///
/// The nodes are a sorted set by the end of their lease. An epoch is the time at which it began, or
/// one more than the last, so that it grows even if Redis was emptied in between.
const BEAT: &str = r"
local nodes, numbers, leader, epochs = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local id, joins, resigned, counts, lease = ARGV[1], ARGV[2], ARGV[3], ARGV[4], tonumber(ARGV[5])
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
for _, gone in ipairs(redis.call('ZRANGEBYSCORE', nodes, '-inf', now)) do
    redis.call('ZREM', nodes, gone)
    redis.call('HDEL', numbers, gone)
end
if joins == '0' and not redis.call('ZSCORE', nodes, id) then
    return {0, '', {}}
end
redis.call('ZADD', nodes, string.format('%.0f', now + lease), id)
redis.call('HSET', numbers, id, counts)
redis.call('PEXPIRE', nodes, 2 * lease)
redis.call('PEXPIRE', numbers, 2 * lease)
local leads = redis.call('GET', leader)
if leads then
    local node = string.match(leads, '^%x+')
    if not redis.call('ZSCORE', nodes, node) or leads == id .. ' ' .. resigned then
        leads = false
    end
end
if not leads then
    local last = tonumber(redis.call('GET', epochs) or '0')
    local epoch = string.format('%.0f', math.max(now, last + 1))
    redis.call('SET', epochs, epoch, 'PX', 30 * 24 * 3600 * 1000)
    leads = id .. ' ' .. epoch
end
redis.call('SET', leader, leads, 'PX', 2 * lease)
return {1, leads, redis.call('HGETALL', numbers)}
";

/// Says whether a leader of this epoch may make a match of peers of these nodes.
const COMMIT: &str = r"
if redis.call('GET', KEYS[3]) ~= ARGV[1] then
    return 'not leading'
end
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
for index = 2, 3 do
    local ends = redis.call('ZSCORE', KEYS[1], ARGV[index])
    if not ends or tonumber(ends) <= now then
        return ARGV[index]
    end
end
return 'yes'
";

/// Ends a lease, and the leadership with it.
const LEAVE: &str = r"
redis.call('ZREM', KEYS[1], ARGV[1])
redis.call('HDEL', KEYS[2], ARGV[1])
return 1
";

fn script(text: &str, prefix: &str) -> redis::Cmd {
    let mut command = redis::cmd("EVAL");
    command.arg(text).arg(4);
    for key in ["nodes", "numbers", "leader", "epochs"] {
        command.arg(format!("{prefix}:{key}"));
    }
    command
}

/// Returns `None` if the node has lost its lease.
pub(crate) async fn beat(
    commands: &mut MultiplexedConnection,
    prefix: &str,
    Beat { id, joins, resigned, numbers, lease }: Beat,
) -> Result<Option<View>, RedisError> {
    let numbers = serde_json::to_string(&numbers).expect("numbers have no map with other keys");
    let mut command = script(BEAT, prefix);
    command.arg(id.to_string()).arg(u8::from(joins)).arg(resigned.unwrap_or(0));
    command.arg(numbers).arg(u64::try_from(lease.as_millis()).unwrap_or(u64::MAX));
    let (stays, leads, nodes): (u8, String, Vec<String>) = command.query_async(commands).await?;
    if stays == 0 {
        return Ok(None);
    }
    let leader = leads
        .split_once(' ')
        .and_then(|(node, epoch)| Some((epoch.parse().ok()?, parse_node(node)?)));
    let Some(leader) = leader else { return Err(strange()) };
    let mut view = View { leader, nodes: HashSet::new(), others: Numbers::default() };
    for pair in nodes.chunks_exact(2) {
        let Some(node) = parse_node(&pair[0]) else { return Err(strange()) };
        view.nodes.insert(node);
        if node != id {
            // Of another version at worst.
            view.others.add(serde_json::from_str(&pair[1]).unwrap_or_default());
        }
    }
    Ok(Some(view))
}

pub(crate) async fn commit(
    commands: &mut MultiplexedConnection,
    prefix: &str,
    (leader, epoch): (NodeId, Epoch),
    nodes: [NodeId; 2],
) -> Result<Allowed, RedisError> {
    let mut command = script(COMMIT, prefix);
    command.arg(format!("{leader} {epoch}"));
    for node in nodes {
        command.arg(node.to_string());
    }
    let answer: String = command.query_async(commands).await?;
    match &*answer {
        "yes" => Ok(Allowed::Yes),
        "not leading" => Ok(Allowed::NotLeading),
        node => parse_node(node).map(Allowed::Gone).ok_or_else(strange),
    }
}

pub(crate) async fn leave(
    commands: &mut MultiplexedConnection,
    prefix: &str,
    id: NodeId,
) -> Result<(), RedisError> {
    script(LEAVE, prefix).arg(id.to_string()).query_async(commands).await
}

fn parse_node(text: &str) -> Option<NodeId> {
    u64::from_str_radix(text, 16).ok().map(NodeId)
}

fn strange() -> RedisError {
    (ErrorKind::UnexpectedReturnType, "another program's key").into()
}
