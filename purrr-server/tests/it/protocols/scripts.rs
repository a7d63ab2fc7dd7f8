//! Scripts of sessions, and what their steps mean: [`Script`].

/// How often the server pings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pings {
    Seldom,
    /// So often that a script sees pings. A namespace must be asked for as soon.
    Often,
}

use Pings::{Often, Seldom};

/// A name, the heartbeat, and steps.
///
/// | step | |
/// |---|---|
/// | `open polling`, `open websocket` | begins a session; its greeting must be complete |
/// | `get = ANSWER`, `post BODY = ANSWER` | a request; the answer is a status, and a body if it is 200 |
/// | `get twice = ANSWERS` | two polls at once, whose answers may come in either order |
/// | `post BODY during get = ANSWER` | the answer to a poll that is under way |
/// | `get until 400` | polls until the session is over |
/// | `join` | opens a WebSocket for the polling session |
/// | `second join is closed` | opens another one, and the server closes it |
/// | `> TEXT`, `< TEXT` | a text to the server, and from it; `…` stands for anything |
/// | `>b BYTES`, `<b BYTES` | the same with binary messages |
/// | `closed` | the server closes the WebSocket of a client that answers pings |
/// | `closed in silence` | the same with a client that answers nothing |
pub(super) type Script = (&'static str, Pings, &'static [&'static str]);

/// On every server. `HELLO` and `ECHO` are a packet that it answers, and the answer.
pub(super) const SESSIONS: [Script; 11] = [
    ("polling: opens", Seldom, &["open polling"]),
    ("websocket: opens", Seldom, &["open websocket"]),
    (
        "polling: pings and pongs",
        Often,
        &[
            "open polling",
            "get = 200 2",
            "post 3 = 200 ok",
            "get = 200 2",
            "post 3 = 200 ok",
            "get = 200 2",
            "post 3 = 200 ok",
        ],
    ),
    ("polling: missed pong", Often, &["open polling", "get = 200 2", "get until 400"]),
    (
        "websocket: pings and pongs",
        Often,
        &["open websocket", "< 2", "> 3", "< 2", "> 3", "< 2", "> 3"],
    ),
    ("websocket: missed pong", Often, &["open websocket", "< 2", "closed in silence"]),
    (
        "polling: close",
        Seldom,
        &["open polling", "post 1 during get = 200 6", "get = 400", "post 3 = 400"],
    ),
    ("websocket: close", Seldom, &["open websocket", "> 1", "closed"]),
    (
        "upgrade",
        Seldom,
        &[
            "open polling",
            "join",
            "> 2probe",
            "< 3probe",
            "get = 200 6",
            "> 5",
            "> HELLO",
            "< ECHO",
        ],
    ),
    (
        "upgrade: polls are refused afterwards",
        Seldom,
        &["open polling", "join", "> 2probe", "> 5", "< 3probe", "get = 400", "> HELLO", "< ECHO"],
    ),
    (
        "upgrade: a second one is closed",
        Seldom,
        &[
            "open polling",
            "join",
            "> 2probe",
            "> 5",
            "< 3probe",
            "second join is closed",
            "> HELLO",
            "< ECHO",
        ],
    ),
];

/// On an echo over Engine.IO alone.
pub(super) const ENGINE_IO: [Script; 9] = [
    ("polling: text", Seldom, &["open polling", "post 4hello = 200 ok", "get = 200 4hello"]),
    (
        "polling: several texts",
        Seldom,
        &[
            "open polling",
            "post 4one\x1e4two\x1e4three = 200 ok",
            "get = 200 4one\x1e4two\x1e4three",
        ],
    ),
    (
        "polling: text and bytes",
        Seldom,
        &["open polling", "post 4hi\x1ebAQIDBA== = 200 ok", "get = 200 4hi\x1ebAQIDBA=="],
    ),
    (
        "polling: no packet",
        Seldom,
        &["open polling", "post abc = 400", "get = 400", "post 4hi = 400"],
    ),
    ("polling: two polls", Seldom, &["open polling", "get twice = 200 1, 400", "get = 400"]),
    ("websocket: text", Seldom, &["open websocket", "> 4hello", "< 4hello"]),
    ("websocket: bytes", Seldom, &["open websocket", ">b 1 2 3 4", "<b 1 2 3 4"]),
    ("websocket: no packet", Seldom, &["open websocket", "> abc", "closed"]),
    (
        "upgrade: what was sent before comes first",
        Seldom,
        &[
            "open polling",
            "post 4before = 200 ok",
            "join",
            "> 2probe",
            "< 3probe",
            "get = 200 4before",
            "> 5",
            "> 4after",
            "< 4after",
        ],
    ),
];

/// On an echo over Socket.IO with the namespaces `/` and `/custom`.
pub(super) const SOCKET_IO: [Script; 17] = [
    ("namespace", Seldom, &["open websocket", "> 40", r#"< 40{"sid":"…"}"#, r#"< 42["auth",{}]"#]),
    (
        "namespace with auth",
        Seldom,
        &[
            "open websocket",
            r#"> 40{"token":"123"}"#,
            r#"< 40{"sid":"…"}"#,
            r#"< 42["auth",{"token":"123"}]"#,
        ],
    ),
    (
        "another namespace",
        Seldom,
        &[
            "open websocket",
            "> 40/custom,",
            r#"< 40/custom,{"sid":"…"}"#,
            r#"< 42/custom,["auth",{}]"#,
        ],
    ),
    (
        "another namespace with auth",
        Seldom,
        &[
            "open websocket",
            r#"> 40/custom,{"token":"abc"}"#,
            r#"< 40/custom,{"sid":"…"}"#,
            r#"< 42/custom,["auth",{"token":"abc"}]"#,
        ],
    ),
    (
        "a namespace that is not there",
        Seldom,
        &["open websocket", "> 40/random", r#"< 44/random,{"message":"Invalid namespace"}"#],
    ),
    ("no namespace: no packet", Seldom, &["open websocket", "> 4abc", "closed"]),
    ("no namespace: an event", Seldom, &["open websocket", r#"> 42["message"]"#, "closed"]),
    ("no namespace: nothing", Often, &["open websocket", "< 2", "> 3", "closed"]),
    (
        "leaving the namespace",
        Often,
        &[
            "open websocket",
            "> 40",
            r#"< 40{"sid":"…"}"#,
            r#"< 42["auth",{}]"#,
            "> 41",
            "< 2",
            "> 3",
            "< 2",
        ],
    ),
    (
        "leaving one of two namespaces",
        Seldom,
        &[
            "open websocket",
            "> 40",
            r#"< 40{"sid":"…"}"#,
            r#"< 42["auth",{}]"#,
            "> 40/custom",
            r#"< 40/custom,{"sid":"…"}"#,
            r#"< 42/custom,["auth",{}]"#,
            "> 41/custom",
            r#"> 42["message","still here"]"#,
            r#"< 42["message-back","still here"]"#,
        ],
    ),
    (
        "event",
        Seldom,
        &[
            "open websocket",
            "> 40",
            r#"< 40{"sid":"…"}"#,
            r#"< 42["auth",{}]"#,
            r#"> 42["message",1,"2",{"3":[true]}]"#,
            r#"< 42["message-back",1,"2",{"3":[true]}]"#,
        ],
    ),
    (
        "event with attachments",
        Seldom,
        &[
            "open websocket",
            "> 40",
            r#"< 40{"sid":"…"}"#,
            r#"< 42["auth",{}]"#,
            r#"> 452-["message",{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}]"#,
            ">b 1 2 3",
            ">b 4 5 6",
            r#"< 452-["message-back",{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}]"#,
            "<b 1 2 3",
            "<b 4 5 6",
        ],
    ),
    (
        "event with an acknowledgement",
        Seldom,
        &[
            "open websocket",
            "> 40",
            r#"< 40{"sid":"…"}"#,
            r#"< 42["auth",{}]"#,
            r#"> 42456["message-with-ack",1,"2",{"3":[false]}]"#,
            r#"< 43456[1,"2",{"3":[false]}]"#,
        ],
    ),
    (
        "event with attachments and an acknowledgement",
        Seldom,
        &[
            "open websocket",
            "> 40",
            r#"< 40{"sid":"…"}"#,
            r#"< 42["auth",{}]"#,
            r#"> 452-789["message-with-ack",{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}]"#,
            ">b 1 2 3",
            ">b 4 5 6",
            r#"< 462-789[{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}]"#,
            "<b 1 2 3",
            "<b 4 5 6",
        ],
    ),
    (
        "no packet",
        Seldom,
        &["open websocket", "> 40", r#"< 40{"sid":"…"}"#, r#"< 42["auth",{}]"#, "> 4abc", "closed"],
    ),
    (
        "an event that is an object",
        Seldom,
        &["open websocket", "> 40", r#"< 40{"sid":"…"}"#, r#"< 42["auth",{}]"#, "> 42{}", "closed"],
    ),
    (
        "an acknowledgement's id that is no number",
        Seldom,
        &[
            "open websocket",
            "> 40",
            r#"< 40{"sid":"…"}"#,
            r#"< 42["auth",{}]"#,
            r#"> 42abc["message-with-ack",1]"#,
            "closed",
        ],
    ),
];
