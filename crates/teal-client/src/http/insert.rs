use std::io::{self, Read};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;

use flate2::Compression;
use flate2::read::GzEncoder;
use ureq::SendBody;

use super::session::HttpSession;
use crate::error::silence;
use crate::{Answer, ClientError, Format, InsertStream};

/// An INSERT whose request runs in a thread of its own, fed through a channel.
pub(super) struct HttpInsert {
    /// Gone when the INSERT has ended, by itself or not.
    pieces: Option<SyncSender<Piece>>,
    request: Option<JoinHandle<Result<Answer, ClientError>>>,
    statement: String,
}

enum Piece {
    Data(Vec<u8>),
    End,
}

impl HttpInsert {
    pub(super) fn start(session: &HttpSession, statement: &str, format: &Format) -> Self {
        // A few pieces on the way are enough to keep the connection busy.
        let (pieces, receiver) = sync_channel(4);
        let session = session.clone();
        let sent = format!("{statement} FORMAT {}", format.0);
        let request = std::thread::spawn(move || {
            let body = Pieces { receiver, piece: io::Cursor::default(), ended: false };
            match session.compresses() {
                true => {
                    let body = GzEncoder::new(body, Compression::fast());
                    session.send_data(&sent, SendBody::from_owned_reader(body), Some("gzip"))
                }
                false => session.send_data(&sent, SendBody::from_owned_reader(body), None),
            }
        });
        Self { pieces: Some(pieces), request: Some(request), statement: statement.to_owned() }
    }

    fn outcome(&mut self) -> Result<Answer, ClientError> {
        match self.request.take().map(JoinHandle::join) {
            Some(Ok(outcome)) => outcome,
            // Asked again after it failed, or the thread panicked.
            Some(Err(_)) | None => Err(silence(&self.statement)),
        }
    }
}

impl InsertStream for HttpInsert {
    fn send(&mut self, data: &[u8]) -> Result<(), ClientError> {
        let sent = self.pieces.as_ref().map(|pieces| pieces.send(Piece::Data(data.to_vec())));
        match sent {
            Some(Ok(())) => Ok(()),
            // The request has ended before its data: with an error, or with an answer that is one.
            Some(Err(_)) | None => {
                self.pieces = None;
                Err(match self.outcome() {
                    Err(error) => error,
                    Ok(_) => silence(&self.statement),
                })
            }
        }
    }

    fn finish(mut self: Box<Self>) -> Result<Answer, ClientError> {
        if let Some(pieces) = self.pieces.take() {
            // Should the request have ended already, its outcome says why.
            let _ = pieces.send(Piece::End);
        }
        self.outcome()
    }
}

impl Drop for HttpInsert {
    fn drop(&mut self) {
        // Without an end the body breaks off, and the server does not store its last block.
        self.pieces = None;
        if let Some(request) = self.request.take() {
            let _ = request.join();
        }
    }
}

/// The pieces as one body. Without an `End` the body is broken off: a body that merely ended would
/// be a shorter INSERT.
struct Pieces {
    receiver: Receiver<Piece>,
    piece: io::Cursor<Vec<u8>>,
    ended: bool,
}

impl Read for Pieces {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let length = self.piece.read(buffer)?;
            if length > 0 || buffer.is_empty() {
                return Ok(length);
            }
            if self.ended {
                return Ok(0);
            }
            match self.receiver.recv() {
                Ok(Piece::Data(data)) => self.piece = io::Cursor::new(data),
                Ok(Piece::End) => self.ended = true,
                Err(_) => return Err(io::Error::other("the INSERT was given up")),
            }
        }
    }
}
