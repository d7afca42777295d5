use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::net::UnixStream;

use nix::cmsg_space;
use nix::sys::socket::{ControlMessage, ControlMessageOwned, MsgFlags, recvmsg, sendmsg};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Longest message in bytes; a sandbox's description is a few hundred.
const MAX_MESSAGE: usize = 64 * 1024;

#[derive(Debug, thiserror::Error)]
pub enum ProtocolError {
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("a message of {0} bytes is longer than {MAX_MESSAGE}")]
    TooLong(usize),
    #[error("the message is not understood: {0}")]
    Json(#[from] serde_json::Error),
}

/// Sends one message, `descriptor` beside it. Blocks for the stream's write timeout.
pub fn send<T: Serialize>(
    mut stream: &UnixStream,
    message: &T,
    descriptor: Option<BorrowedFd<'_>>,
) -> Result<(), ProtocolError> {
    let body = serde_json::to_vec(message)?;
    if body.len() > MAX_MESSAGE {
        return Err(ProtocolError::TooLong(body.len()));
    }
    let length = u32::try_from(body.len())
        .map_err(|_| ProtocolError::TooLong(body.len()))?
        .to_be_bytes();
    match descriptor {
        None => stream.write_all(&length)?,
        Some(fd) => {
            let raw = [fd.as_raw_fd()];
            let sent = sendmsg::<()>(
                stream.as_raw_fd(),
                &[IoSlice::new(&length)],
                &[ControlMessage::ScmRights(&raw)],
                MsgFlags::MSG_NOSIGNAL,
                None,
            )
            .map_err(io::Error::from)?;
            // The descriptor went with the first byte; the rest of the length is plain.
            stream.write_all(&length[sent..])?;
        }
    }
    stream.write_all(&body)?;
    Ok(())
}

/// Receives one message and the descriptor beside it, if any. More than one
/// descriptor is more than anybody sends: the others are closed.
pub fn receive<T: DeserializeOwned>(
    mut stream: &UnixStream,
) -> Result<(T, Option<OwnedFd>), ProtocolError> {
    let mut length = [0u8; 4];
    let (read, descriptor) = receive_with_descriptor(stream, &mut length)?;
    stream.read_exact(&mut length[read..])?;
    let length = u32::from_be_bytes(length) as usize;
    if length > MAX_MESSAGE {
        return Err(ProtocolError::TooLong(length));
    }
    let mut body = vec![0u8; length];
    stream.read_exact(&mut body)?;
    Ok((serde_json::from_slice(&body)?, descriptor))
}

fn receive_with_descriptor(
    stream: &UnixStream,
    buffer: &mut [u8],
) -> io::Result<(usize, Option<OwnedFd>)> {
    let mut space = cmsg_space!([std::os::fd::RawFd; 4]);
    let mut slices = [IoSliceMut::new(buffer)];
    let message = recvmsg::<()>(
        stream.as_raw_fd(),
        &mut slices,
        Some(&mut space),
        MsgFlags::MSG_CMSG_CLOEXEC,
    )?;
    let mut descriptors = Vec::new();
    for control in message.cmsgs()? {
        if let ControlMessageOwned::ScmRights(raw) = control {
            // SAFETY: the kernel has just made these descriptors for us and nobody else knows them.
            descriptors.extend(
                raw.into_iter()
                    .map(|fd| unsafe { OwnedFd::from_raw_fd(fd) }),
            );
        }
    }
    if message.bytes == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok((message.bytes, descriptors.into_iter().next()))
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::os::fd::AsFd;

    use nix::sys::stat::fstat;

    use super::*;
    use crate::{Request, Response, Sandbox};

    fn sandbox() -> Sandbox {
        Sandbox {
            container_id: "c1".into(),
            namespace: "shop".into(),
            name: "cart".into(),
            uid: Some("u1".into()),
            ips: vec!["10.244.1.3".parse().unwrap(), "fd00::3".parse().unwrap()],
        }
    }

    #[test]
    fn a_question_arrives_with_the_descriptor_it_was_sent_with() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let file = File::open("/proc/self/ns/net").unwrap();
        send(&ours, &Request::Add(sandbox()), Some(file.as_fd())).unwrap();
        let (request, descriptor): (Request, _) = receive(&theirs).unwrap();
        assert_eq!(request, Request::Add(sandbox()));
        let received = fstat(descriptor.unwrap().as_fd()).unwrap();
        assert_eq!(received.st_ino, fstat(file.as_fd()).unwrap().st_ino);
    }

    #[test]
    fn an_answer_needs_no_descriptor() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let answer = Response::Failed {
            message: "no proxy".into(),
        };
        send(&ours, &answer, None).unwrap();
        let (received, descriptor): (Response, _) = receive(&theirs).unwrap();
        assert_eq!(received, answer);
        assert!(descriptor.is_none());
    }

    #[test]
    fn a_message_longer_than_the_limit_is_refused_before_it_is_read() {
        let (mut ours, theirs) = UnixStream::pair().unwrap();
        ours.write_all(&u32::MAX.to_be_bytes()).unwrap();
        assert!(matches!(
            receive::<Request>(&theirs),
            Err(ProtocolError::TooLong(_))
        ));
    }

    #[test]
    fn a_stream_that_ends_early_is_an_error() {
        let (mut ours, theirs) = UnixStream::pair().unwrap();
        ours.write_all(&[0, 0, 0, 9, b'{']).unwrap();
        drop(ours);
        assert!(matches!(
            receive::<Request>(&theirs),
            Err(ProtocolError::Io(_))
        ));
    }
}
