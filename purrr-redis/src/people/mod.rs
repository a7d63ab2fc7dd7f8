//! Who is known on every node: [`RedisPeople`], the [`People`] of a cluster.
//!
//! Blocks, recent partners and tokens are in Redis, under pseudonyms. Each change is one script. A
//! task sends them in the order in which they were asked for.

mod pseudonym;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use purrr_core::{
    Limits,
    backend::{Identity, People, PeopleError, PersonAt},
    model::{Exclusions, OriginKey, PersonId, QueueStatus, ResumeToken},
};
use redis::{FromRedisValue, Value};
use tokio::{
    sync::{mpsc, oneshot},
    time::{Instant, sleep_until, timeout},
};

pub(crate) use self::pseudonym::Pseudonyms;
use crate::node::{Node, Unreachable, WeakNode};

#[derive(Debug)]
pub(crate) struct RedisPeople {
    node: Node,
    calls: mpsc::Sender<Call>,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    names: Pseudonyms,
    limits: Limits,
    /// The peers of this node, for a Redis that has forgotten them.
    present: Mutex<HashMap<ResumeToken, PersonId>>,
}

/// A call of the script.
#[derive(Debug)]
struct Call {
    arguments: Vec<String>,
    answer: Option<oneshot::Sender<Value>>,
}

/// The calls that may wait for Redis. Above it an arrival is told later, and a departure is noticed
/// by the end of the token's time.
const CALLS: usize = 16_384;

/// The calls of one round trip.
const BATCH: usize = 64;

/// How long a call may take.
const PATIENCE: Duration = Duration::from_secs(2);

/// What is known of a person is kept for at least this long after it was last used.
const KEEP_AT_LEAST: Duration = Duration::from_secs(3600);

/// How often the peers that are present are told of again, which renews what is known of them.
const RENEW: Duration = Duration::from_secs(900);

/// How soon they are after Redis did not answer.
const RENEW_SOON: Duration = Duration::from_secs(1);

/// One script with all changes, which share what a token and a person are.
///
/// `t` is a token's person and state, `k` the token that resumes a person, `m` whom a person met,
/// `b` whom it blocked and `o` at which addresses until when, `w` that another person blocked it.
const SCRIPT: &str = r"
local call, prefix, keep = ARGV[1], ARGV[2], ARGV[3]
local function key(kind, name) return prefix .. ':' .. kind .. ':' .. name end
local function clock()
    local time = redis.call('TIME')
    return time[1] * 1000000 + time[2]
end
local function number(value) return string.format('%.0f', value) end
local function is_remembered(person)
    return redis.call('EXISTS', key('m', person), key('b', person), key('w', person)) > 0
end
local function renew(person)
    for _, kind in ipairs({'m', 'b', 'o', 'w', 'k'}) do
        redis.call('PEXPIRE', key(kind, person), keep)
    end
end
local function use_up(token)
    local state = redis.call('HGET', key('t', token), 's')
    if state == 'left' then
        redis.call('DEL', key('t', token))
    elseif state then
        redis.call('HSET', key('t', token), 's', 'used')
    end
end
local function join(person, token)
    if not is_remembered(person) then return end
    local old = redis.call('GET', key('k', person))
    redis.call('SET', key('k', person), token, 'PX', keep)
    if old and old ~= token then use_up(old) end
    renew(person)
end
local function remember(person, token)
    if is_remembered(person) then return end
    local owner = redis.call('HMGET', key('t', token), 'p', 's')
    if owner[1] == person and owner[2] ~= 'used' then
        redis.call('SET', key('k', person), token, 'PX', keep)
    end
end
local function add(kind, person, member, most)
    local list = key(kind, person)
    local last = redis.call('ZRANGE', list, -1, -1, 'WITHSCORES')[2]
    local score = clock()
    if last and tonumber(last) >= score then score = tonumber(last) + 1 end
    redis.call('ZADD', list, number(score), member)
    redis.call('ZREMRANGEBYRANK', list, 0, -1 - most)
end
local function blocks(person, origin, other, other_origin)
    if redis.call('ZSCORE', key('b', person), other) then return true end
    if origin == other_origin then return false end
    local ends = redis.call('ZSCORE', key('o', person), other_origin)
    return ends and tonumber(ends) > clock()
end

if call == 'arrive' then
    local token, person = ARGV[4], ARGV[5]
    local known = redis.call('HGET', key('t', token), 'p')
    if known then
        redis.call('PEXPIRE', key('t', token), keep)
        renew(known)
        return 1
    end
    redis.call('HSET', key('t', token), 'p', person, 's', 'good')
    redis.call('PEXPIRE', key('t', token), keep)
    join(person, token)
    return 1
elseif call == 'depart' then
    local token = ARGV[4]
    local owner = redis.call('HMGET', key('t', token), 'p', 's')
    local person, state = owner[1], owner[2]
    if not person or state == 'left' then return 1 end
    if state == 'good' and is_remembered(person) then
        local bound = redis.call('GET', key('k', person))
        if not bound or bound == token then
            redis.call('SET', key('k', person), token, 'PX', keep)
            redis.call('HSET', key('t', token), 's', 'left')
            redis.call('PEXPIRE', key('t', token), keep)
            renew(person)
            return 1
        end
    end
    redis.call('DEL', key('t', token))
    return 1
elseif call == 'resume' then
    local token, other, authenticated = ARGV[4], ARGV[5], ARGV[6]
    local owner = redis.call('HMGET', key('t', other), 'p', 's')
    local own = redis.call('HMGET', key('t', token), 'p', 's')
    local person = owner[1]
    if not person or own[2] ~= 'good' or owner[2] == 'used' or token == other then return '' end
    if authenticated ~= '' and authenticated ~= person then return '' end
    redis.call('HSET', key('t', token), 'p', person)
    use_up(other)
    if redis.call('GET', key('k', own[1])) == token then redis.call('DEL', key('k', own[1])) end
    join(person, token)
    return person
elseif call == 'met' then
    local token, person, partner, most = ARGV[4], ARGV[5], ARGV[6], tonumber(ARGV[7])
    remember(person, token)
    add('m', person, partner, most)
    renew(person)
    return 1
elseif call == 'block' then
    local token, person, other, most = ARGV[4], ARGV[5], ARGV[6], tonumber(ARGV[7])
    local origin, origin_for, most_origins = ARGV[8], tonumber(ARGV[9]), tonumber(ARGV[10])
    remember(person, token)
    add('b', person, other, most)
    if origin ~= '' then
        local list, now = key('o', person), clock()
        redis.call('ZREMRANGEBYSCORE', list, '-inf', number(now))
        redis.call('ZADD', list, number(now + origin_for), origin)
        redis.call('ZREMRANGEBYRANK', list, 0, -1 - most_origins)
    end
    renew(person)
    redis.call('SET', key('w', other), 1, 'PX', keep)
    renew(other)
    return 1
elseif call == 'exclusions' then
    local person, recent_for = ARGV[4], tonumber(ARGV[5])
    local now = clock()
    local since, from_now = '(' .. number(now - recent_for), '(' .. number(now)
    return {
        redis.call('ZREVRANGEBYSCORE', key('m', person), '+inf', since),
        redis.call('ZRANGE', key('b', person), 0, -1),
        redis.call('ZRANGEBYSCORE', key('o', person), from_now, '+inf'),
    }
end
local a, a_origin, b, b_origin = ARGV[4], ARGV[5], ARGV[6], ARGV[7]
if blocks(a, a_origin, b, b_origin) or blocks(b, b_origin, a, a_origin) then return 1 end
return 0
";

/// The maximum number of addresses that one person has blocked, as in memory.
const BLOCKED_ORIGINS: usize = 32;

impl RedisPeople {
    /// Creates the people of a node that has joined.
    pub(crate) fn new(node: Node, names: Pseudonyms) -> Self {
        let (calls, asked) = mpsc::channel(CALLS);
        let limits = node.options().limits.clone();
        let shared = Arc::new(Shared { names, limits, present: Mutex::default() });
        let prefix = node.options().prefix.clone();
        tokio::spawn(send_calls(node.downgrade(), prefix, Arc::clone(&shared), asked));
        Self { node, calls, shared }
    }

    fn tell(&self, arguments: Vec<String>) {
        // If there is no room, the peers that are present are told of again later.
        self.calls.try_send(Call { arguments, answer: None }).ok();
    }

    async fn ask<T: FromRedisValue>(&self, arguments: Vec<String>) -> Result<T, PeopleError> {
        let (tell, answer) = oneshot::channel();
        let asked = async {
            let call = Call { arguments, answer: Some(tell) };
            self.calls.send(call).await.map_err(|_| Unreachable)?;
            answer.await.map_err(|_| Unreachable)
        };
        let answer = timeout(PATIENCE, asked).await.unwrap_or(Err(Unreachable));
        let answer = answer.map_err(|error| PeopleError::Unavailable(error.into()))?;
        T::from_redis_value(answer).map_err(|error| PeopleError::Unavailable(error.into()))
    }
}

impl Shared {
    fn present(&self) -> MutexGuard<'_, HashMap<ResumeToken, PersonId>> {
        self.present.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn arrival(&self, token: ResumeToken, person: PersonId) -> Vec<String> {
        vec!["arrive".to_owned(), self.names.token(token), self.names.person(person)]
    }

    /// Returns how long what is known of a person is kept, in milliseconds.
    fn keep(&self) -> String {
        let keep = self.limits.resume_for.max(self.limits.recent_for).max(KEEP_AT_LEAST);
        // A year at most, far below what Redis can add to its clock.
        keep.min(365 * 24 * KEEP_AT_LEAST).as_millis().to_string()
    }
}

/// Sends calls until the last [`RedisPeople`] is dropped. An answer that Redis does not give is
/// told by the end of its channel.
async fn send_calls(
    node: WeakNode,
    prefix: String,
    shared: Arc<Shared>,
    mut asked: mpsc::Receiver<Call>,
) {
    let keep = shared.keep();
    let mut calls = Vec::new();
    let mut renewal: Vec<(ResumeToken, PersonId)> = Vec::new();
    let mut renew_at = Instant::now() + RENEW;
    loop {
        if renewal.is_empty() {
            tokio::select! {
                many = asked.recv_many(&mut calls, BATCH) => if many == 0 { return },
                () = sleep_until(renew_at) => {
                    renewal = shared.present().iter().map(|(token, it)| (*token, *it)).collect();
                    renew_at = Instant::now() + RENEW;
                }
            }
        } else {
            // Between batches, so that calls need not wait for all of them.
            while calls.len() < BATCH
                && let Ok(call) = asked.try_recv()
            {
                calls.push(call);
            }
        }
        let rest = renewal.len().saturating_sub(BATCH);
        for (token, _) in renewal.split_off(rest) {
            // It may have departed meanwhile, or be another person.
            let person = shared.present().get(&token).copied();
            if let Some(person) = person {
                calls.push(Call { arguments: shared.arrival(token, person), answer: None });
            }
        }
        let mut pipeline = redis::pipe();
        for call in &calls {
            let (name, rest) = call.arguments.split_first().expect("a name");
            pipeline.cmd("EVAL").arg(SCRIPT).arg(0).arg(name).arg(&prefix).arg(&keep).arg(rest);
        }
        let Some(commands) = node.upgrade().map(|node| node.commands()) else { return };
        let answers = match commands {
            Some(mut commands) => pipeline.query_async::<Vec<Value>>(&mut commands).await.ok(),
            None => None,
        };
        match answers {
            Some(answers) => {
                for (call, value) in calls.drain(..).zip(answers) {
                    call.answer.and_then(|answer| answer.send(value).err());
                }
            }
            None => {
                calls.clear();
                renewal.clear();
                renew_at = renew_at.min(Instant::now() + RENEW_SOON);
            }
        }
    }
}

#[async_trait]
impl People for RedisPeople {
    fn arrive(&self, peer: Identity) {
        self.node.presence().arrive();
        self.shared.present().insert(peer.token, peer.person);
        self.tell(self.shared.arrival(peer.token, peer.person));
    }

    fn depart(&self, token: ResumeToken) {
        self.node.presence().depart();
        self.shared.present().remove(&token);
        self.tell(vec!["depart".to_owned(), self.shared.names.token(token)]);
    }

    async fn resume(
        &self,
        token: ResumeToken,
        other: ResumeToken,
        authenticated: Option<PersonId>,
    ) -> Result<Option<PersonId>, PeopleError> {
        let names = &self.shared.names;
        let authenticated = authenticated.map(|person| names.person(person)).unwrap_or_default();
        let arguments =
            vec!["resume".to_owned(), names.token(token), names.token(other), authenticated];
        let person: String = self.ask(arguments).await?;
        let person = names.to_person(&person);
        if let Some(person) = person
            && let Some(known) = self.shared.present().get_mut(&token)
        {
            *known = person;
        }
        Ok(person)
    }

    async fn exclusions(&self, person: PersonId) -> Result<Exclusions, PeopleError> {
        let Shared { names, limits, .. } = &*self.shared;
        let recent_for = limits.recent_for.as_micros().to_string();
        let arguments = vec!["exclusions".to_owned(), names.person(person), recent_for];
        let (recent, persons, origins): (Vec<String>, Vec<String>, Vec<String>) =
            self.ask(arguments).await?;
        let known = |all: Vec<String>| -> Vec<PersonId> {
            all.iter().filter_map(|name| names.to_person(name)).collect()
        };
        let origins: Vec<OriginKey> =
            origins.iter().filter_map(|name| names.to_origin(name)).collect();
        Ok(Exclusions::default()
            .recently(known(recent), limits.recent_relax)
            .blocking(known(persons))
            .blocking_origins(origins))
    }

    async fn keeps_apart(&self, a: PersonAt, b: PersonAt) -> Result<bool, PeopleError> {
        let names = &self.shared.names;
        let mut arguments = vec!["apart".to_owned()];
        for at in [a, b] {
            arguments.extend([names.person(at.person), names.origin(at.origin)]);
        }
        Ok(self.ask::<u8>(arguments).await? == 1)
    }

    async fn met(&self, peer: Identity, partner: PersonId) -> Result<(), PeopleError> {
        let Shared { names, limits, .. } = &*self.shared;
        if limits.recent_partners == 0 {
            return Ok(());
        }
        let most = limits.recent_partners.to_string();
        let arguments = vec![
            "met".to_owned(),
            names.token(peer.token),
            names.person(peer.person),
            names.person(partner),
            most,
        ];
        self.ask::<u8>(arguments).await.map(drop)
    }

    async fn block(&self, peer: Identity, other: PersonAt) -> Result<(), PeopleError> {
        let Shared { names, limits, .. } = &*self.shared;
        let covers_address = !limits.block_address_for.is_zero()
            && other.origin != OriginKey::NONE
            && other.origin != peer.origin;
        let origin = if covers_address { names.origin(other.origin) } else { String::new() };
        // A year at most, as for what is kept.
        let origin_for = limits.block_address_for.min(365 * 24 * KEEP_AT_LEAST);
        let arguments = vec![
            "block".to_owned(),
            names.token(peer.token),
            names.person(peer.person),
            names.person(other.person),
            limits.blocks.to_string(),
            origin,
            origin_for.as_micros().to_string(),
            BLOCKED_ORIGINS.to_string(),
        ];
        self.ask::<u8>(arguments).await.map(drop)
    }

    fn begin_search(&self) {
        self.node.presence().begin_search();
    }

    fn end_search(&self, waited: Option<Duration>) {
        self.node.presence().end_search(waited);
    }

    fn online(&self) -> u64 {
        self.node.numbers().online
    }

    fn queue_status(&self) -> QueueStatus {
        let numbers = self.node.numbers();
        let (online, waiting) = (numbers.online, numbers.searching);
        let mut status = QueueStatus::default();
        (status.online, status.waiting) = (online, waiting);
        status.estimate = numbers.median_wait().map(Duration::from_millis);
        status
    }
}
