//! What reads the bytes of clients, given the corpus of `fuzz/` and what is almost it.

#[path = "../../fuzz/runner.rs"]
mod runner;

use purrr_server::fuzzing;

#[test]
fn frames_are_read_alike_at_once_and_in_pieces() {
    runner::run("frames", fuzzing::frames);
}

#[test]
fn payloads_are_read_again_as_they_are_written() {
    runner::run("payloads", fuzzing::payloads);
}

#[test]
fn what_is_said_on_one_dialect_is_understood_on_both() {
    runner::run("events", fuzzing::events);
}
