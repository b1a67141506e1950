//! What the admin is told of the queue: page by page, and one message whole but for its body.

use std::io::{Read, Take};

use ipc_proto::{
    ConnectionId, DeliveryId,
    delivery::MAX_RECIPIENTS,
    queue::{
        AdminQueued, AdminToQueued, MAX_HEADER, QUEUE_PAGE, QueuedDetail, QueuedMessage, QueuedRecipient,
        QueuedToAdmin,
    },
    stream::Responder,
    types::Timestamp,
};
use rusqlite::{OptionalExtension, Row, params};

use crate::{
    disk::Disk,
    queue::{Millis, Queue, QueueError, address, open},
};

/// One question of the admin.
pub(crate) async fn answer(disk: Disk, request: AdminToQueued, responder: Responder<AdminQueued>) {
    let answered = match request {
        AdminToQueued::List { after } => {
            disk.run(move |queue| queue.list(after)).await.map(QueuedToAdmin::Messages)
        }
        AdminToQueued::Show(id) => disk.run(move |queue| queue.show(id)).await.map(|found| {
            found.map_or(QueuedToAdmin::NoMessage, |found| QueuedToAdmin::Message(Box::new(found)))
        }),
    };
    let reply = answered.unwrap_or_else(|error| QueuedToAdmin::Refused(error.to_string()));
    responder.reply(&reply, Vec::new());
}

const COLUMNS: &str = "id, reverse_path, size, stored_ms, attempts, next_ms, connection, trace";

impl Queue {
    /// The oldest messages that were stored behind `after`.
    pub(crate) fn list(
        &mut self,
        after: Option<(Timestamp, DeliveryId)>,
    ) -> Result<Vec<QueuedMessage>, QueueError> {
        let (stored, id) = after.map_or((Millis::MIN, [0; 16]), |(stored, id)| (millis(stored), id.0));
        let mut find = self.database.prepare_cached(&format!(
            "SELECT {COLUMNS} FROM message WHERE (stored_ms, id) > (?1, ?2) ORDER BY stored_ms, id LIMIT ?3"
        ))?;
        let mut rows = find.query(params![stored, id, i64::try_from(QUEUE_PAGE).unwrap_or(i64::MAX)])?;
        let mut messages = Vec::new();
        while let Some(row) = rows.next()? {
            messages.push(self.message(row)?);
        }
        Ok(messages)
    }

    /// One row, and the first of its recipients.
    fn message(&self, row: &Row<'_>) -> Result<QueuedMessage, QueueError> {
        let id = DeliveryId(row.get(0)?);
        let from: Option<String> = row.get(1)?;
        let (recipients, first, reason) = self
            .database
            .prepare_cached(
                "SELECT count(*), min(address),
                        (SELECT reason FROM recipient
                         WHERE message = ?1 AND reason IS NOT NULL ORDER BY address LIMIT 1)
                 FROM recipient WHERE message = ?1",
            )?
            .query_row([id.0], |row| {
                Ok((row.get(0)?, row.get::<_, Option<String>>(1)?, row.get::<_, Option<u8>>(2)?))
            })?;
        Ok(QueuedMessage {
            id,
            from: from.map(|text| address(&text)).transpose()?,
            recipients,
            first: first.map(|text| address(&text)).transpose()?,
            size: row.get::<_, i64>(2)?.cast_unsigned(),
            stored: timestamp(row.get(3)?),
            attempts: row.get(4)?,
            next: timestamp(row.get(5)?),
            reason: reason.and_then(crate::recipient::from_number),
        })
    }

    /// `None`: it is not there, or no more.
    pub(crate) fn show(&mut self, id: DeliveryId) -> Result<Option<QueuedDetail>, QueueError> {
        let mut find =
            self.database.prepare_cached(&format!("SELECT {COLUMNS} FROM message WHERE id = ?1"))?;
        let mut rows = find.query([id.0])?;
        let Some(row) = rows.next()? else { return Ok(None) };
        let trace: Vec<u8> = row.get(7)?;
        let (header, cut) = self.header(id, trace)?;
        let recipients = self.recipients(id)?.into_iter().take(MAX_RECIPIENTS);
        Ok(Some(QueuedDetail {
            message: self.message(row)?,
            connection: ConnectionId(row.get::<_, i64>(6)?.cast_unsigned()),
            recipients: recipients
                .map(|recipient| QueuedRecipient {
                    address: recipient.address,
                    members: u32::try_from(recipient.members.len()).ok().filter(|count| *count > 0),
                    reason: recipient.reason,
                })
                .collect(),
            header,
            cut,
        }))
    }

    /// The header fields, those of `trace` first, and whether some are left out.
    fn header(&self, id: DeliveryId, mut trace: Vec<u8>) -> Result<(Vec<u8>, bool), QueueError> {
        let small: Option<Vec<u8>> = self
            .database
            .prepare_cached("SELECT substr(octets, 1, ?2) FROM body WHERE message = ?1")?
            .query_row(params![id.0, i64::try_from(MAX_HEADER).unwrap_or(i64::MAX)], |row| row.get(0))
            .optional()?;
        let octets = match small {
            Some(octets) => octets,
            None => {
                let path = self.path_of(id);
                let file = open(&path).map_err(|error| QueueError::MessageDamaged {
                    path: path.clone(),
                    detail: error.to_string(),
                })?;
                beginning(file.take(MAX_HEADER as u64))?
            }
        };
        // Without an empty line it is all header, or longer than what was read.
        let end = octets.windows(4).position(|four| four == b"\r\n\r\n").map(|end| end + 2);
        let cut = end.is_none() && octets.len() >= MAX_HEADER;
        // A message may begin with the empty line: it has no header then.
        let end = if octets.starts_with(b"\r\n") { 0 } else { end.unwrap_or(octets.len()) };
        trace.extend_from_slice(octets.get(..end).unwrap_or_default());
        let cut = cut || trace.len() > MAX_HEADER;
        trace.truncate(MAX_HEADER);
        Ok((trace, cut))
    }
}

fn beginning(mut file: Take<std::fs::File>) -> Result<Vec<u8>, QueueError> {
    let mut octets = Vec::new();
    file.read_to_end(&mut octets)?;
    Ok(octets)
}

fn timestamp(ms: Millis) -> Timestamp {
    let nanoseconds = u32::try_from(ms.rem_euclid(1000)).unwrap_or_default() * 1_000_000;
    Timestamp { seconds: ms.div_euclid(1000), nanoseconds }
}

fn millis(time: Timestamp) -> Millis {
    time.seconds.saturating_mul(1000).saturating_add(i64::from(time.nanoseconds / 1_000_000))
}
