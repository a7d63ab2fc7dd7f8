//! The native decoder and the session machine, given the corpus of `fuzz/` and what is almost it.

#[path = "../../fuzz/native.rs"]
mod native;
#[path = "../../fuzz/runner.rs"]
mod runner;
#[path = "../../fuzz/session.rs"]
mod session;

#[test]
fn whatever_comes_is_refused_or_understood() {
    runner::run("native", native::check);
}

#[test]
fn whatever_happens_to_a_session_the_invariants_hold() {
    runner::run("session", session::check);
}
