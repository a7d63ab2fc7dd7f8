//! No framing: every message has the same length.

use super::{Dialect, News, Shared};
use crate::{link::Step, script::Line};

#[derive(Debug, Default)]
pub(crate) struct Raw;

impl Dialect for Raw {
    const HAS_LOBBY: bool = false;

    fn open(&mut self, _: &Shared, _: &mut Vec<u8>) -> bool {
        true
    }

    fn read<'a>(
        &'a mut self,
        shared: &mut Shared,
        input: &'a [u8],
        _: &mut Vec<u8>,
    ) -> anyhow::Result<Step<News<'a>>> {
        let bytes = shared.script.bytes();
        Ok(input
            .get(..bytes)
            .map_or(Step::Needs(bytes), |line| Step::Took(bytes, News::Line(line))))
    }

    fn find(_: &mut Vec<u8>) {}

    fn say(shared: &Shared, line: Line, out: &mut Vec<u8>) {
        shared.script.write(line, out);
    }
}
