//! Whether a delivery costs the same in a mailbox that is full.

use crate::{
    aims::{Aims, Bound},
    commits::RawCommit,
    delivery::{self, Load},
    failure::Failure,
    instance::Instance,
    message::Octets,
};

/// So many parts.
const PARTS: usize = 5;

/// How much more a message may cost at the end: what a timer tick and a neighbour's cache are worth.
const FLAT: f64 = 1.15;

/// `messages` into a new mailbox, in parts.
pub(crate) fn measure(
    instance: &Instance,
    messages: usize,
    raw: RawCommit,
    aims: &mut Aims,
) -> Result<(), Failure> {
    crate::line(format_args!("\nmailbox grows to {messages}"));
    delivery::heading();
    let load = Load { size: Octets(1024), connections: 10, messages: messages / PARTS };
    let mut parts = Vec::new();
    for _ in 0..PARTS {
        let part = delivery::measure(instance, load)?;
        crate::line(format_args!("{}", part.row(raw)));
        parts.push(part.processor_milliseconds());
    }
    if let [first, .., last] = parts.as_slice() {
        aims.add(
            format!("server CPU at {messages} messages by that of the first"),
            Bound::AtMost(FLAT),
            "",
            last / first,
        );
    }
    Ok(())
}
