//! What honest callers do.
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use crate::fixture::{ECHO, Ground};
use crate::harness::http::get_address;
use crate::harness::network::NODE;

type Call = fn(&Ground) -> io::Result<()>;

pub const CALLS: [(&str, Call); 2] = [
    ("connect to a member, ask and hear", ask_member),
    ("ask for readiness as the kubelet", ask_readiness),
];

const LIMIT: Duration = Duration::from_secs(4);
const QUESTION: [u8; 100] = [7; 100];

fn ask_member(fixture: &Ground) -> io::Result<()> {
    fixture.a.ns.run(|| {
        let mut stream = TcpStream::connect_timeout(&(fixture.b.ip, ECHO).into(), LIMIT)?;
        stream.set_read_timeout(Some(LIMIT))?;
        stream.write_all(&QUESTION)?;
        // The application says its name first.
        let mut answer = [0; QUESTION.len() + "b\n".len()];
        stream.read_exact(&mut answer)?;
        if answer.ends_with(&QUESTION) {
            Ok(())
        } else {
            Err(io::Error::other("another answer"))
        }
    })
}

fn ask_readiness(fixture: &Ground) -> io::Result<()> {
    match get_address(
        &fixture.mesh.network.host,
        (NODE, 15021).into(),
        "/healthz/ready",
    )? {
        (200, _) => Ok(()),
        (status, text) => Err(io::Error::other(format!("{status}: {text}"))),
    }
}
